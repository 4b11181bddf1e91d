/** Heat maps, as SVG text. @module */
import { drawSvg } from "./svg.ts";

/** A cell: from `from` to `to` along x, in the row named `row`, of the panel named `panel`. */
export interface Cell {
  readonly panel: string;
  readonly row: string;
  readonly from: number;
  readonly to: number;
  /** In [0, 1]. */
  readonly value: number;
}

/** What stands around a heat map. */
export interface HeatMapLabels {
  readonly title: string;
  readonly subtitle: string;
  readonly x: string;
  /** What the colours mean. */
  readonly value: string;
}

/** A panel for each panel's name, rows from top to bottom in the order in which they first occur. */
export function heatMap(
  cells: readonly Cell[],
  { title, subtitle, x, value }: HeatMapLabels,
): Promise<string> {
  const rows = [...new Set(cells.map((c) => c.row))];
  const panels = [...new Set(cells.map((c) => c.panel))];
  return drawSvg({
    title: { text: title, subtitle, anchor: "start", subtitleColor: "#555" },
    data: { values: [...cells] },
    facet: {
      column: { field: "panel", sort: panels, title: null, header: panels.length > 1 ? {} : null },
    },
    spec: {
      width: panels.length > 2 ? 320 : 480,
      height: { step: rows.length > 24 ? 11 : 16 },
      mark: { type: "rect" },
      encoding: {
        x: { field: "from", type: "quantitative", title: x, scale: { nice: false, zero: false } },
        x2: { field: "to" },
        y: {
          field: "row",
          type: "nominal",
          sort: rows,
          title: null,
          axis: { labelFontSize: 9, ticks: false },
        },
        color: {
          field: "value",
          type: "quantitative",
          title: value,
          scale: { domain: [0, 1], scheme: "blueorange" },
        },
      },
    },
  });
}
