"""The same prompts with Jinja2: a task of the benchmark in, processor time of each round out.

Usage: render.py TASK.json. The environment is as Windrow's is: strict, no escaping, trim and lstrip blocks; its filters are
the plain Python that one would write for them. Everything is compiled before the first round, and one round warms up.
"""

import collections
import json
import random
import re
import sys
import time

import jinja2

task = json.load(open(sys.argv[1]))
env = jinja2.Environment(
    loader=jinja2.DictLoader(task["fragments"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,
)
draws = random.Random(7)
WORD = re.compile(r"\w+(?:['’-]\w+)*")
STYLES = ["plain and direct", "warm and conversational", "dry and humorous", "formal and precise"] * 4
STOP = set("a an and are as at be but by for from had has have he her his i if in into is it its my no not of on or our she so "
           "that the their them then there they this to up was we were what when which who will with you your".split())


def truncate_tokens(text, limit):
    spent = 0
    for piece in re.finditer(r"\w+|[^\w\s]", text):
        spent += -(-len(piece.group()) // 6)
        if spent > limit:
            return text[: piece.start()].rstrip()
    return text


def extract_keywords(text, n=5):
    words = (word.lower() for word in WORD.findall(text))
    counts = collections.Counter(word for word in words if len(word) > 2 and word not in STOP)
    return [word for word, _ in counts.most_common(n)]


def remove_markdown(text):
    lines = []
    for line in text.splitlines():
        line = re.sub(r"^\s*(#{1,6}\s+|>\s?|[-*+]\s+|\d+[.)]\s+)", "", line)
        line = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", line)
        lines.append(re.sub(r"(\*\*|__|\*|`)", "", line))
    return "\n".join(lines).rstrip()


def shuffle(items):
    items = list(items)
    draws.shuffle(items)
    return items


env.filters.update(
    truncate_tokens=truncate_tokens,
    extract_keywords=extract_keywords,
    remove_markdown=remove_markdown,
    shuffle=shuffle,
    choice=lambda items: draws.choice(list(items)),
    random_word=lambda text: draws.choice(WORD.findall(text)),
    capitalize_first=lambda text: text[:1].upper() + text[1:],
)
env.globals["writing_style"] = lambda: draws.choice(STYLES)


def compiled(text):
    return None if text is None else env.from_string(text)


# A condition is one expression, as it is in Windrow: computed, not printed.
def condition(text):
    return None if text is None else env.compile_expression(text.strip()[2:-2])


steps = [
    (step["id"], condition(step["when"]), compiled(step["system"]), compiled(step["prompt"]), step["output"])
    for step in task["steps"]
]


def render(record):
    length, outputs = 0, {}
    for name, when, system, prompt, output in steps:
        context = {**record, "steps": outputs}
        if when is not None and not when(context):
            outputs[name] = {"output": None, "skipped": True}
            continue
        if system is not None:
            length += len(system.render(context).encode())
        length += len(prompt.render(context).encode())
        outputs[name] = {"output": output, "skipped": False}
    return length


seconds = []
for attempt in range(task["rounds"] + 1):
    started = time.thread_time()
    characters = sum(render(record) for record in task["records"])
    if attempt:
        seconds.append(time.thread_time() - started)
print(json.dumps({"seconds": seconds, "characters": characters}))
