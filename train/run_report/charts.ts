/** The charts of a report: small, without a title, in colours that the page decides. @module */
import type { Cell } from "../plots/heat_map.ts";
import { drawSvg, type TopLevelSpec } from "../plots/svg.ts";
import type { Point } from "./curves.ts";

/** A line; `faint` lies behind the others and is not named, `wide` lies behind and is seen on both sides of one upon it, `dots` draws its points. */
export interface Curve {
  readonly name: string;
  readonly points: readonly Point[];
  readonly style?: "line" | "faint" | "wide" | "dots";
  /** Number of its colour; lines of one colour belong together. */
  readonly colour: number;
}

/** What stands along the axes. */
export interface Axes {
  readonly x: string;
  readonly y?: string;
  readonly log?: boolean;
  /** Whether the y axis begins at 0. */
  readonly zero?: boolean;
  /** d3 format of the numbers along y. */
  readonly format?: string;
}

/** Number of colours that the page has; further ones begin again. */
export const COLOURS = 8;
/** Width of a chart in units of the page: narrow enough that its letters can be read on a telephone. */
const WIDTH = 330;
const HEIGHT = 200;
const WEIGHTS = {
  line: { strokeWidth: 1.8, opacity: 1 },
  faint: { strokeWidth: 1, opacity: 0.3 },
  wide: { strokeWidth: 5, opacity: 0.4 },
} as const;

/** Colours are the page's own, light or dark. */
const THEME: NonNullable<TopLevelSpec["config"]> = {
  aria: false,
  background: "transparent",
  font: "system-ui, sans-serif",
  view: { stroke: null },
  axis: {
    gridColor: "var(--grid)",
    domainColor: "var(--axis)",
    tickColor: "var(--axis)",
    labelColor: "var(--soft)",
    titleColor: "var(--soft)",
    titleFontWeight: "normal",
    labelFontSize: 11,
    titleFontSize: 11,
    labelFlush: false,
    tickCount: 5,
  },
  legend: { labelColor: "var(--soft)", titleColor: "var(--soft)", labelFontSize: 11, titleFontSize: 11 },
  header: { labelColor: "var(--soft)", titleColor: "var(--soft)" },
};

const colourOf = (n: number): string => `var(--s${n % COLOURS + 1})`;

const draw = (spec: TopLevelSpec): Promise<string> => drawSvg(spec, THEME);

/** Lines over a common axis. `log` leaves out what is not above 0. */
export function curveChart(curves: readonly Curve[], axes: Axes): Promise<string> {
  const { log = false, zero = false, format } = axes;
  const drawn = curves.map((c) => log ? { ...c, points: c.points.filter((p) => p.y > 0) } : c);
  const named = drawn.filter((c) => c.style !== "faint");
  const x = {
    field: "x",
    type: "quantitative" as const,
    title: axes.x,
    scale: { nice: false },
    axis: { grid: false, tickCount: 6, tickMinStep: 1, format: "~s" },
  };
  const y = {
    field: "y",
    type: "quantitative" as const,
    title: axes.y ?? null,
    scale: log ? { type: "log" as const, nice: false } : { zero },
    // Of a logarithm there are too many lines.
    axis: { grid: !log, ...(format === undefined ? {} : { format }) },
  };
  const names = [...new Map(named.map((c) => [c.name, c.colour]))];
  const color = {
    field: "name",
    type: "nominal" as const,
    title: null,
    scale: { domain: names.map(([name]) => name), range: names.map(([, colour]) => colourOf(colour)) },
    legend: names.length > 1
      ? {
        orient: "top" as const,
        direction: names.every(([name]) => name.length <= 16) ? "horizontal" as const : "vertical" as const,
        ...(names.length > 3 ? { columns: names.every(([name]) => name.length <= 16) ? 3 : 1 } : {}),
        labelLimit: WIDTH,
        symbolType: "stroke" as const,
        symbolStrokeWidth: 2.5,
        symbolOpacity: 1,
        offset: 6,
      }
      : null,
  };
  const order = { faint: 0, wide: 1, line: 2, dots: 3 } as const;
  const styleOf = (c: Curve) => c.style ?? "line";
  return draw({
    width: WIDTH,
    height: HEIGHT,
    layer: drawn.toSorted((a, b) => order[styleOf(a)] - order[styleOf(b)]).map((c) => {
      const data = { values: c.points.map((p) => ({ ...p, name: c.name })) };
      const faint = styleOf(c) === "faint";
      return {
        data,
        mark: c.style === "dots"
          ? { type: "line" as const, strokeWidth: 1.5, strokeDash: [4, 3], point: { size: 42, filled: true } }
          : { type: "line" as const, ...WEIGHTS[c.style ?? "line"] },
        encoding: { x, y, color: faint ? { value: colourOf(c.colour) } : color },
      };
    }),
  });
}

/** A bar. */
export interface Amount {
  readonly name: string;
  readonly value: number;
  /** The number as people read it. */
  readonly shown: string;
}

/** Horizontal bars from 0, each with its number behind it. */
export function amountChart(amounts: readonly Amount[]): Promise<string> {
  const most = Math.max(...amounts.map((a) => a.value));
  const y = {
    field: "name",
    type: "nominal" as const,
    sort: null,
    title: null,
    axis: { domain: false, ticks: false, labelLimit: 200 },
  };
  // Room for the numbers behind the bars.
  const x = {
    field: "value",
    type: "quantitative" as const,
    axis: null,
    scale: { domain: [0, most * 1.35 || 1] },
  };
  return draw({
    width: WIDTH - 60,
    height: { step: 34 },
    data: { values: [...amounts] },
    layer: [
      { mark: { type: "bar", color: colourOf(0), height: 16 }, encoding: { y, x } },
      {
        mark: { type: "text", align: "left", dx: 6, color: "var(--soft)", fontSize: 11 },
        encoding: { y, x, text: { field: "shown" } },
      },
    ],
  });
}

/** A heat map of numbers in [0, 1], a panel below another for each panel of the cells. */
export function cellChart(
  cells: readonly Cell[],
  { x, value }: { readonly x: string; readonly value: string },
) {
  const rows = [...new Set(cells.map((c) => c.row))], panels = [...new Set(cells.map((c) => c.panel))];
  return draw({
    data: { values: [...cells] },
    facet: {
      row: {
        field: "panel",
        sort: panels,
        title: null,
        header: panels.length > 1 ? { orient: "top" } : null,
      },
    },
    spec: {
      width: 2 * WIDTH,
      height: { step: rows.length > 24 ? 11 : 16 },
      mark: { type: "rect" },
      encoding: {
        x: {
          field: "from",
          type: "quantitative",
          title: x,
          scale: { nice: false, zero: false },
          axis: { grid: false, tickMinStep: 1 },
        },
        x2: { field: "to" },
        y: {
          field: "row",
          type: "nominal",
          sort: rows,
          title: null,
          axis: { labelFontSize: 9, ticks: false, domain: false, grid: false },
        },
        color: {
          field: "value",
          type: "quantitative",
          title: value,
          scale: { domain: [0, 1], scheme: "blueorange" },
          legend: { orient: "top", gradientLength: 160, gradientThickness: 8, titleOrient: "left" },
        },
      },
    },
  });
}
