/** Vega-Lite descriptions as SVG text. Needs no DOM, no canvas and no permission; the library is loaded when first asked. @module */
import type { TopLevelSpec } from "vega-lite";

/** A Vega-Lite description of one picture. */
export type { TopLevelSpec } from "vega-lite";

/** What all pictures share. */
const STYLE: NonNullable<TopLevelSpec["config"]> = {
  // Labels for screen readers on every mark would be most of the file.
  aria: false,
  background: "white",
  font: "sans-serif",
  view: { stroke: null },
  axis: { gridColor: "#e6e6e6", domainColor: "#888", tickColor: "#888" },
};

/** Draw a picture. Loading the library takes 0.1 to 0.2 s, once. Throws what Vega throws on a wrong description. */
export async function drawSvg(spec: TopLevelSpec, style = STYLE): Promise<string> {
  const [vega, lite] = await Promise.all([import("vega"), import("vega-lite")]);
  const view = new vega.View(vega.parse(lite.compile(spec, { config: style }).spec), { renderer: "none" });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}
