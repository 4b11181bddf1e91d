/** Chat templates: those of models render as the library renders them, and none runs without end. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { Template } from "@huggingface/jinja";
import { boundedTemplate, JinjaLimitError, limitsFor } from "../train/chat_template/bounded.ts";
import { TokenizerError } from "../train/errors.ts";
import { PLAIN_TEMPLATE, tokenizerOf } from "../train/tokenizer.ts";
import { programOf } from "./jinja_programs.ts";

/** Templates in the manner of models that chat: what they use of the language, and more of it. */
const REAL: Readonly<Record<string, string>> = {
  plain: PLAIN_TEMPLATE,
  chatml:
    `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}`,
  header: `{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{%- if not date_string is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday Date: " + date_string[:2] | length | string + "\n\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}`,
  inst:
    `{{ bos_token }}{% for message in messages %}{% if message['role'] not in ['user', 'assistant', 'system'] %}{{ raise_exception('a role of its own') }}
{% elif message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}`,
  thinking: `{%- set ns = namespace(multi=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi and message.role == "user" and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.multi = false %}{%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if '</think>' in content %}{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}
    {{- '<|' ~ message.role ~ '|>' ~ content.replace('a', 'b') ~ (loop.index0 > ns.last and 'new' or 'old') ~ '\n' }}
{%- endfor %}`,
  language:
    `{%- macro shown(x, depth=0) -%}{%- if x is mapping -%}{ {%- for k, v in x|dictsort -%}{{ k }}:{{ shown(v, depth + 1) }},{%- endfor -%} }
{%- elif x is iterable and x is not string -%}[{% for v in x if v %}{{ shown(v, depth=depth + 1) }} {% endfor %}]{%- else -%}{{ x }}{%- endif -%}{%- endmacro -%}
{{ shown(messages) }}{{ messages|tojson(indent=2) }}{{ messages }}{{ messages|map(attribute='role')|join(', ') }}{{ messages|selectattr('role', 'equalto', 'user')|list|length }}
{% filter indent(3) %}{% for message in messages %}{% if loop.index is odd %}{% continue %}{% endif %}{{ message.content|upper }}
{% if loop.index > 3 %}{% break %}{% endif %}{% endfor %}{% endfilter %}{% call shown(1) %}{% endcall %}
{% set all %}{% for i in range(3) %}{{ i * 2 }}{% endfor %}{% endset %}{{ all }}{{ [3, 1, 2]|sort|reverse|first }}{{ {'a': 1}.items()|list }}{{ 'a-b'|replace('-', '+') }}{{ f is defined }}{{ (1, 2)|last }}{{ messages[0].content[1:3] }}{{ 'x' in {'x': 1} }}`,
};

const CHAT = [
  { role: "system", content: "  Be brief. " },
  { role: "user", content: "<think>hm</think>\nWhat is a cat?" },
  { role: "assistant", content: "an animal" },
  { role: "user", content: '\n\tand "that" é?' },
];

for (const [name, text] of Object.entries(REAL)) {
  Deno.test(`chat template: ${name} renders as the library does`, () => {
    for (let n = 1; n <= CHAT.length; n++) {
      for (const add_generation_prompt of [false, true]) {
        const values = {
          messages: CHAT.slice(0, n),
          add_generation_prompt,
          bos_token: "<s>",
          eos_token: "</s>",
        };
        const mine = boundedTemplate(text)(values, limitsFor(100));
        assertEquals(mine, new Template(text).render(values));
        assert(mine.length > 0);
      }
    }
  });
}

Deno.test("chat template: a chat of a thousand long messages is within the limits", () => {
  const messages = Array.from({ length: 1000 }, (_, i) => ({
    role: i % 2 === 0 ? "user" : "assistant",
    content: `${i} `.repeat(i % 7 === 0 ? 2000 : 20),
  }));
  const size = messages.reduce((n, m) => n + m.role.length + m.content.length + 16, 0);
  for (const text of Object.values(REAL)) {
    boundedTemplate(text)({ messages, bos_token: "<s>", eos_token: "</s>" }, limitsFor(size));
  }
});

/** Templates that would take for ever, or all memory. */
const NASTY: Readonly<Record<string, string>> = {
  "a long range": "{% for i in range(10 ** 9) %}a{% endfor %}",
  "a long range under another name": "{% set r = range %}{% for i in r(10 ** 9) %}a{% endfor %}",
  "loops in loops": `${"{% for i in range(99999) %}".repeat(6)}a${"{% endfor %}".repeat(6)}`,
  "loops in loops of nothing": `${"{% for i in range(99999) %}".repeat(6)}${"{% endfor %}".repeat(6)}`,
  "loops over choices of none":
    "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
  "a namespace that counts":
    "{% set ns = namespace(n=range(1000)) %}{% for i in range(9999) %}{% set ns.n = ns.n + ns.n %}{% endfor %}",
  "a macro that calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
  "a macro that calls itself twice":
    "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
  "a caller that calls":
    "{% macro f() %}{{ caller() }}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{% call f() %}a{% endcall %}",
  "a doubled text":
    `{% set ns = namespace(s='abcdefgh') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}`,
  "a text doubled in a block":
    "{% set ns = namespace(s='abcdefgh') %}{% for i in range(60) %}{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}",
  "a text joined to itself":
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s]|join(ns.s) %}{% endfor %}",
  "a text in place of its letters":
    "{% set ns = namespace(s='aaaa') %}{% for i in range(60) %}{% set ns.s = ns.s.replace('a', ns.s) %}{% endfor %}",
  "a text in place of its letters, by a filter":
    "{% set ns = namespace(s='aaaa') %}{% for i in range(60) %}{% set ns.s = ns.s|replace('a', ns.s) %}{% endfor %}",
  "a text in place of its letters, by a method held":
    "{% set ns = namespace(s='aaaa') %}{% for i in range(60) %}{% set f = ns.s['rep' ~ 'lace'] %}{% set ns.s = f(*['a', ns.s]) %}{% endfor %}",
  "a text that is printed often":
    "{% set s = 'a,'|replace('a', 'b' ~ range(9999)|string) %}{% for i in range(99999) %}{{ s }}{% endfor %}",
  "lists of lists":
    "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}",
  "lists of lists as JSON":
    "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a|tojson }}",
  "lists of lists compared":
    "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a == 'b' }}",
  "namespaces of namespaces":
    "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [namespace(x=ns.a), ns.a] %}{% endfor %}{{ ns.a|string }}",
  "a namespace in itself": "{% set ns = namespace(a=1) %}{% set ns.a = ns %}{{ ns }}",
  "a deep list, indented":
    "{% set ns = namespace(a=[1]) %}{% for i in range(900) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a|tojson(indent=500000) }}",
  "a wide indent": "{{ 'a\\nb\\nc'|indent(500000000) }}",
  "a long text sorted":
    "{% set s = range(99999)|string %}{% set ns = namespace(a=[s, s]) %}{% for i in range(16) %}{% set ns.a = ns.a + ns.a %}{% endfor %}{% for i in range(9) %}{% set b = ns.a|sort %}{% endfor %}",
  "a definition in a loop": `{% for i in range(99999) %}{% macro f() %}${
    "{{ a }}".repeat(9999)
  }{% endmacro %}{% endfor %}`,
  "arguments without end":
    "{% macro f() %}{{ varargs|length }}{% endmacro %}{% set a = range(99999) %}{% for i in range(99999) %}{{ f(*a) }}{% endfor %}",
  "slices": "{% set a = range(99999) %}{% for i in range(99999) %}{% set b = a[::-1] %}{% endfor %}",
  "names that are none":
    "{% for i in range(99999) %}{{ a }}{{ b }}{{ c }}{{ d }}{{ e }}{{ f }}{{ g }}{% endfor %}",
  "long ranges, again and again": "{% for i in range(99999) %}{% set a = range(99999) %}{% endfor %}",
  "the time, again and again": "{% for i in range(99999) %}{{ strftime_now('%B') }}{% endfor %}",
  "turns that are left":
    "{% for i in range(999) %}{% for j in range(99999) %}{% continue %}{% endfor %}{% endfor %}",
  "a search in a list":
    "{% set a = range(99999) %}{% for i in range(99999) %}{% if 'x' in a %}{% endif %}{% endfor %}",
};

const here = (path: string): string => decodeURIComponent(new URL(path, import.meta.url).pathname);
const json = (path: string): Record<string, unknown> => JSON.parse(Deno.readTextFileSync(here(path)));
const tokenizer = json("../examples/base/tokenizer.json"),
  config = json("../examples/base/tokenizer_config.json");

for (const [what, template] of Object.entries(NASTY)) {
  Deno.test(`chat template: ${what} is stopped`, () => {
    const { renderChat } = tokenizerOf({ tokenizer, config, template }, "models/m");
    const memory = Deno.memoryUsage().rss, begin = performance.now();
    const { message } = assertThrows(() => renderChat(CHAT), TokenizerError);
    const seconds = (performance.now() - begin) / 1000, grown = (Deno.memoryUsage().rss - memory) / 2 ** 20;
    assertStringIncludes(message, "models/m: the chat template goes on without end");
    assertStringIncludes(message, "--format");
    assert(seconds < 10, `${seconds} s`);
    assert(grown < 300, `${grown} MiB`);
  });
}

Deno.test("chat template: programs drawn at random end, or are stopped, in time (GYRE_HOSTILE tries more)", () => {
  const tries = Math.ceil(Number(Deno.env.get("GYRE_HOSTILE") ?? 2000) / 50), ends = new Set<string>();
  for (let seed = 0; seed < tries; seed++) {
    const begin = performance.now(), memory = Deno.memoryUsage().rss;
    try {
      boundedTemplate(programOf(seed))({ messages: CHAT }, limitsFor(100));
      ends.add("done");
    } catch (error) {
      ends.add(error instanceof JinjaLimitError ? "stopped" : "refused");
    }
    const seconds = (performance.now() - begin) / 1000, grown = (Deno.memoryUsage().rss - memory) / 2 ** 20;
    assert(seconds < 10 && grown < 400, `seed ${seed}: ${seconds} s, ${grown} MiB`);
  }
  assertEquals([...ends].sort(), ["done", "refused", "stopped"]);
});

Deno.test("chat template: what cannot be read in reasonable time is refused", () => {
  for (const template of [`${" ".repeat(100_000)}{% if`, "a".repeat(300_000)]) {
    assertThrows(() => tokenizerOf({ tokenizer, config, template }, "m"), TokenizerError, "cannot be read");
  }
});
