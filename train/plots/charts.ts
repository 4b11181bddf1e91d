/** Line and bar charts of what was measured, as SVG text. @module */
import { drawSvg } from "./svg.ts";

/** A measured number: the mean over repetitions with their least and greatest, or with a spread around it. */
export interface Spread {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** A point of a line. */
export interface LinePoint extends Spread {
  readonly x: number;
}

/** A line of a chart, its points from left to right. */
export interface Line {
  readonly name: string;
  readonly points: readonly LinePoint[];
}

/** What stands around a chart. */
export interface Labels {
  readonly title: string;
  /** Lines below the title. */
  readonly subtitle?: readonly string[];
  readonly x: string;
  readonly y: string;
}

/** Ten colours are told apart better than twenty. */
const scheme = (count: number): "tableau10" | "tableau20" => count > 10 ? "tableau20" : "tableau10";

const heading = ({ title, subtitle }: Pick<Labels, "title" | "subtitle">) => ({
  text: title,
  anchor: "start" as const,
  ...(subtitle === undefined ? {} : { subtitle: [...subtitle], subtitleColor: "#555" }),
});

/** Lines of the means, each in a band from low to high. `log` needs values above 0. */
export function lineChart(
  lines: readonly Line[],
  { log = false, ...labels }: Labels & { readonly log?: boolean },
): Promise<string> {
  const values = lines.flatMap(({ name, points }) => points.map((p) => ({ name, ...p })));
  const names = lines.map((l) => l.name);
  const scale = log ? { type: "log" as const, nice: false } : { zero: false };
  const color = {
    field: "name",
    type: "nominal" as const,
    title: null,
    scale: { domain: names, scheme: scheme(names.length) },
    legend: { symbolType: "stroke" as const, symbolOpacity: 1, symbolStrokeWidth: 3 },
  };
  const x = { field: "x", type: "quantitative" as const, title: labels.x, scale: { nice: false } };
  return drawSvg({
    title: heading(labels),
    width: 560,
    height: 320,
    data: { values },
    layer: [
      {
        mark: { type: "area", opacity: 0.15 },
        encoding: {
          x,
          y: { field: "low", type: "quantitative", title: labels.y, scale },
          y2: { field: "high" },
          color,
        },
      },
      {
        mark: { type: "line", strokeWidth: 1.5 },
        encoding: { x, y: { field: "mean", type: "quantitative", scale }, color },
      },
    ],
  });
}

/** A bar of a chart. */
export interface Bar extends Spread {
  readonly name: string;
}

/** Horizontal bars from 0 in the given order, with a line from low to high and the mean as text by `format` of d3. */
export function barChart(
  bars: readonly Bar[],
  { format = ".3~g", ...labels }: Omit<Labels, "y"> & { readonly format?: string },
): Promise<string> {
  const y = { field: "name", type: "nominal" as const, sort: null, title: null };
  return drawSvg({
    title: heading(labels),
    width: 420,
    height: { step: 24 },
    data: { values: [...bars] },
    layer: [
      {
        mark: { type: "bar", color: "#4c78a8" },
        encoding: { y, x: { field: "mean", type: "quantitative", title: labels.x } },
      },
      {
        mark: { type: "rule", strokeWidth: 1.5 },
        encoding: { y, x: { field: "low", type: "quantitative" }, x2: { field: "high" } },
      },
      {
        mark: { type: "text", align: "left", dx: 6 },
        encoding: {
          y,
          x: { field: "high", type: "quantitative" },
          text: { field: "mean", type: "quantitative", format },
        },
      },
    ],
  });
}
