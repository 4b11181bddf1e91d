/** The page of a report: its look, and text made safe for it. @module */

/** Text of a page, its special characters already replaced. */
export interface Html {
  readonly html: string;
}

/** A template of a page: texts and numbers put into it are made safe, other parts of a page stay as they are. */
export function markup(
  parts: TemplateStringsArray,
  ...values: readonly (string | number | Html | readonly Html[])[]
): Html {
  const shown = (value: string | number | Html | readonly Html[]): string => {
    if (typeof value === "string" || typeof value === "number") return escapeHtml(String(value));
    return "html" in value ? value.html : value.map((v) => v.html).join("");
  };
  return { html: parts.map((part, i) => part + (i < values.length ? shown(values[i]!) : "")).join("") };
}

/** Nothing. */
export const NOTHING: Html = { html: "" };

/** Text of which no character means anything to HTML; characters that no page may hold are shown as �. */
export function escapeHtml(text: string): string {
  const names: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  // deno-lint-ignore no-control-regex
  return text.replace(/[&<>"']/g, (c) => names[c]!).replace(/[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/g, "\ufffd");
}

/** A picture that fills its place; `label` says what it shows to those who do not see it. */
export function picture(svg: string, label: string, id: string): Html {
  const [, width, height] = /width="([\d.]+)" height="([\d.]+)"/.exec(svg) ?? [];
  // Several pictures stand in one page: names inside of them must differ.
  const own = svg.replace(/\bid="([^"]+)"/g, `id="${id}-$1"`).replace(/url\(#([^)]+)\)/g, `url(#${id}-$1)`)
    .replace("<svg ", `<svg role="img" aria-label="${escapeHtml(label)}" style="max-width:${width}px" `)
    .replace(`width="${width}" height="${height}" `, "");
  return { html: own };
}

const CSS = `
:root { color-scheme: light dark; --page: #fcfcfb; --card: #fff; --ink: #1d2126; --soft: #5b636d; --line: #e3e5e8;
  --grid: #eceef0; --axis: #a9b0b8; --good: #1f7a4d; --bad: #b3412e; --s1: #2f6db5; --s2: #c8641e; --s3: #2e8b62;
  --s4: #8a55b8; --s5: #b5872a; --s6: #b8436f; --s7: #3b8ea5; --s8: #6d6f73; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171a; --card: #1b1f23; --ink: #e6e9ec; --soft: #a1aab4; --line: #2d3339; --grid: #272c32;
    --axis: #5c656f; --good: #5fc294; --bad: #ec8b78; --s1: #6aa5ec; --s2: #ee9552; --s3: #5cc295; --s4: #bb8ce6;
    --s5: #dcb359; --s6: #e77fa4; --s7: #6fc2d9; --s8: #a7abb0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 22px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 40px 0 12px; }
h3 { font-size: 14px; font-weight: 600; margin: 0 0 2px; overflow-wrap: anywhere; }
p { margin: 0 0 8px; max-width: 72ch; }
.soft { color: var(--soft); }
.small { font-size: 13px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(165px, 1fr)); gap: 12px; margin: 20px 0; }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 12px 14px; }
.tile b { display: block; font-size: 17px; font-weight: 600; font-variant-numeric: tabular-nums; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: 14px; }
.card p { font-size: 13px; color: var(--soft); margin-bottom: 6px; }
.card, .wide { min-width: 0; }
svg { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
.wide svg { min-width: 520px; margin: 0 auto; }
.wide .mark-rect path { shape-rendering: crispEdges; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; vertical-align: top; padding: 6px 14px 6px 0; border-top: 1px solid var(--line);
  overflow-wrap: anywhere; }
thead th { border-top: 0; color: var(--soft); font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 500; overflow-wrap: normal; }
.text { white-space: pre-wrap; font: 12.5px/1.45 ui-monospace, monospace; }
.answer { border-top: 1px solid var(--line); padding: 12px 0; }
.answer > p { max-width: none; }
.question { font-weight: 500; white-space: pre-wrap; overflow-wrap: anywhere; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(260px, 100%), 1fr)); gap: 6px 24px; }
.sides .text { margin: 2px 0 0; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); }
summary { cursor: pointer; color: var(--soft); padding: 8px 0; }
.settings { columns: 320px; column-gap: 40px; }
.settings div { display: flex; gap: 12px; justify-content: space-between; border-top: 1px solid var(--line);
  padding: 4px 0; break-inside: avoid; font-size: 13px; }
.settings dt { color: var(--soft); } .settings dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
dl { margin: 0; }
.key { display: inline-block; width: 14px; height: 3px; margin-right: 8px; vertical-align: middle; }
@media (max-width: 480px) { .tile b { font-size: 15px; } main { padding: 20px 14px 40px; } }
@media print { .tile, .card { break-inside: avoid; } }
`;

/** A whole page: one file, nothing loaded from elsewhere. */
export function page(title: string, body: readonly Html[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="Gyre">
<title>${escapeHtml(title)}</title>
<link rel="icon" href="data:,">
<style>${CSS}</style>
</head>
<body>
<main>
${body.map((b) => b.html).join("\n")}
</main>
</body>
</html>
`;
}
