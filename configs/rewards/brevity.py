"""A reward of your own, as an example: short answers earn more.

`custom_reward` of a member of `reinforce` in params.yaml names a file like this and a function in it. The file is an
input of the stage: when it changes, the stage runs again.
"""


def brevity(prompts: list[str], answers: list[str], references: list[str]) -> list[float]:
    """One number for each answer: 1 for a single word, 1/2 for two, and so on.

    Args:
        prompts: What the model was asked, as the chat template renders it.
        answers: What it wrote, without the end-of-turn token.
        references: The right answers.
    """
    return [1 / max(1, len(answer.split())) for answer in answers]
