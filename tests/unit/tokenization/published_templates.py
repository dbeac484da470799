"""Chat templates as their families publish them, word for word, where TRL ships no copy of the file."""

LLAMA2 = (  # meta-llama/Llama-2-7b-chat-hf, tokenizer_config.json
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL = (  # mistralai/Mistral-7B-Instruct-v0.2, tokenizer_config.json
    "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content'] %}\n"
    "    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n"
    "\n{{- bos_token }}\n{%- for message in loop_messages %}\n"
    "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\n"
    "        {{- raise_exception('After the optional system message, conversation roles must alternate') }}\n"
    "    {%- endif %}\n    {%- if message['role'] == 'user' %}\n"
    "        {%- if loop.first and system_message is defined %}\n"
    "            {{- ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}\n"
    "        {%- else %}\n            {{- ' [INST] ' + message['content'] + ' [/INST]' }}\n        {%- endif %}\n"
    "    {%- elif message['role'] == 'assistant' %}\n        {{- ' ' + message['content'] + eos_token}}\n"
    "    {%- endif %}\n{%- endfor %}\n"
)
CHATML = (  # 01-ai/Yi-6B-Chat, tokenizer_config.json
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INTERNLM2 = "{{ bos_token }}" + CHATML  # internlm/internlm2-chat-7b, tokenizer_config.json
CHATGLM3 = (  # THUDM/chatglm3-6b, tokenizer_config.json
    "{% for message in messages %}{% if loop.first %}[gMASK]sop<|{{ message['role'] }}|>\n {{ message['content'] }}"
    "{% else %}<|{{ message['role'] }}|>\n {{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ZEPHYR = (  # HuggingFaceH4/zephyr-7b-beta, tokenizer_config.json
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)


def vicuna(messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    """lmsys/FastChat, conversation.py: ADD_COLON_TWO of `vicuna_v1.1`, after the `<s>` of Llama's tokenizer."""
    system = (
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions."
    )
    if messages[0]["role"] == "system":
        system, messages = messages[0]["content"], messages[1:]
    separators = [" ", "</s>"]
    text = "<s>" + system + separators[0]
    for number, message in enumerate(messages):
        role = {"user": "USER", "assistant": "ASSISTANT"}[message["role"]]
        text += role + ": " + message["content"] + separators[number % 2]
    return text + "ASSISTANT:" if add_generation_prompt else text


def baichuan2(messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    """baichuan-inc/Baichuan2, generation_utils.py build_chat_input; training ends a whole chat with `</s>`."""
    text = ""
    if messages[0]["role"] == "system":
        text, messages = messages[0]["content"], messages[1:]
    for message in messages:
        text += {"user": "<reserved_106>", "assistant": "<reserved_107>"}[message["role"]] + message["content"]
    return text + "<reserved_107>" if add_generation_prompt else text + "</s>"


def alpaca(messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    """tatsu-lab/stanford_alpaca, train.py: PROMPT_DICT['prompt_no_input'] and output + eos_token; one turn."""
    source = (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        f"### Instruction:\n{messages[0]['content']}\n\n### Response:"
    )
    return source if add_generation_prompt else f"{source}{messages[1]['content']}</s>"


def guanaco(messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    """artidoro/qlora: the prompt of its notebook over the text column of openassistant-guanaco; one turn."""
    prompt = (
        "A chat between a curious human and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions.\n"
        f"### Human: {messages[0]['content']}\n### Assistant:"
    )
    return prompt if add_generation_prompt else f"{prompt} {messages[1]['content']}</s>"
