"""grpo: held-out reward before and after, three seeds."""

from benchmarks.methods.rewards import main

if __name__ == "__main__":
    main("grpo")
