#!/usr/bin/env python3
"""Records how transformers renders conversations: chat.json.

    pip install transformers
    python tests/references/chat.py HF_DIR > tests/references/chat.json

HF_DIR holds a tokenizer and a chat template (SmolLM2's). The other templates are in the manner of well-known families and use what
those use: filters, Python's methods, namespaces, exceptions, macros, loop control. For each template (null:
HF_DIR's own) and conversation: whether the model is given the word, and the text, or the error's words.
"""
import json
import sys

from transformers import AutoTokenizer

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"""

LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif message.tool_calls|length != 1 %}
        {{- raise_exception("This model only supports single tool-calls at once!") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

QWEN3 = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}{{- tools | tojson }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

PLAY = """{%- macro turn(role, text='') -%}[{{ role.upper() }}] {{ text|trim|replace('\\n', ' / ') }}{%- endmacro -%}
{%- for message in messages if message.role != 'system' %}
  {%- if loop.index > 3 %}{% break %}{% endif %}
  {{ turn(message.role, message.content) }}{{ "," if not loop.last }}
{%- endfor %}
{{ messages | map(attribute='role') | join('|') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ messages[-1] | tojson }} {{ messages[0].items() | list | length }} {{ messages[0].get('name', 'nobody') }}
{{ add_generation_prompt }} {{ none }} {{ 7 // 2 }} {{ 2 ** 3 }} {{ 'a' ~ 1 }} {{ 'x' in 'xyz' }} {{ messages[0]['content'][:3] }}
{{ {'k': [1, 2.5, true, none], 'é': '<&>'} | tojson(indent=2) }}
"""

GENERATION = """{% for message in messages %}
{%- if message.role == 'assistant' %}
A: {% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}
{%- else %}
U: {{ message.content }}
{%- endif %}

{% endfor %}{% if add_generation_prompt %}A:{% endif %}"""

TALKS = [
    [("user", "What is the capital of France?")],
    [("system", "Answer briefly."), ("user", " Who keeps the light?\n"), ("assistant", "Keziah Quandt."), ("user", "Since <|im_end|> when? \"é\" 🙂")],
    [("user", "Hi"), ("assistant", "<think>\nhm\n</think>\n\nHello!"), ("user", "Bye"), ("assistant", "<think>\nwell\n</think>\n\nGood bye!")],
    [("user", "one"), ("user", "two")],
]


def main(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.bos_token, tokenizer.eos_token = "<|im_start|>", "<|im_end|>"
    groups = []
    for template in (None, GEMMA, LLAMA3, QWEN3, ZEPHYR, PLAY, GENERATION):
        lines = []
        for talk in TALKS:
            for generation in (True, False):
                messages = [{"role": role, "content": content} for role, content in talk]
                entry = {"messages": messages, "generation": generation}
                try:
                    entry["text"] = tokenizer.apply_chat_template(
                        messages, chat_template=template, tokenize=False, add_generation_prompt=generation)
                except Exception as error:
                    entry["error"] = str(error)
                lines.append(json.dumps(entry, ensure_ascii=False))
        groups.append('{"template": ' + json.dumps(template) + ', "renderings": [\n' + ",\n".join(lines) + "\n]}")
    print("[\n" + ",\n".join(groups) + "\n]")


if __name__ == "__main__":
    main(*sys.argv[1:2])
