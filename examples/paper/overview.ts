/** A picture of a comparison: each number of each method, panel by panel. @module */
import { drawSvg, METHODS, type TopLevelSpec } from "../../train/mod.ts";
import type { PaperRecord } from "./records.ts";
import { bytesOf, columnsIn, type MethodRow, methodRows } from "./table.ts";

interface Panel {
  readonly title: string;
  readonly points: readonly Point[];
}

interface Point {
  readonly method: string;
  readonly by: string;
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** The panels of results: columns of the table, then time and memory; those without a number are left out. */
export function panelsOf(records: readonly PaperRecord[]): Panel[] {
  const rows = methodRows(records), columns = columnsIn(records);
  const panel = (title: string, of: (row: MethodRow) => Omit<Point, "method" | "by"> | null): Panel => ({
    title,
    points: rows.flatMap((row) => {
      const found = of(row);
      return found ? [{ method: row.method, by: row.maker, ...found }] : [];
    }),
  });
  const exact = (x: number | null | undefined, times: number) =>
    x === null || x === undefined ? null : { mean: times * x, low: times * x, high: times * x };
  return [
    ...columns.map(({ title, share }, i) =>
      panel(title, ({ scores }) => {
        const stat = scores[i], times = share ? 100 : 1;
        if (!stat) return null;
        const { mean, sd } = stat;
        return { mean: times * mean, low: times * (mean - sd), high: times * (mean + sd) };
      })
    ),
    panel("ms a step", ({ time }) => exact(time?.secondsPerStep, 1000)),
    panel("peak MiB", ({ time }) => exact(time && bytesOf(time), 2 ** -20)),
  ].filter(({ points }) => points.length > 0);
}

/** Draw the panels as SVG text: a point at the mean, a line over the deviation of a seed. */
export function drawOverview(records: readonly PaperRecord[]): Promise<string> {
  const panels = panelsOf(records);
  const methods = METHODS.filter((m) => panels.some(({ points }) => points.some((p) => p.method === m)));
  const makers = ["Gyre", "PEFT"];
  const color = {
    field: "by",
    type: "nominal" as const,
    title: null,
    scale: { domain: makers, range: ["#4c78a8", "#f58518"] },
  };
  const y = { field: "method", type: "nominal" as const, sort: [...methods], title: null };
  const yOffset = { field: "by", type: "nominal" as const, sort: makers };
  const x = (field: string) => ({
    field,
    type: "quantitative" as const,
    title: null,
    scale: { zero: false },
  });
  return drawSvg(
    {
      columns: 3,
      concat: panels.map(({ title, points }) => ({
        title: { text: title, anchor: "start" as const, fontSize: 11 },
        width: 190,
        height: 18 * methods.length,
        data: { values: [...points] },
        layer: [
          {
            mark: { type: "rule" as const },
            encoding: { y, yOffset, color, x: x("low"), x2: { field: "high" } },
          },
          { mark: { type: "point" as const, filled: true }, encoding: { y, yOffset, color, x: x("mean") } },
        ],
      })),
    } satisfies TopLevelSpec,
  );
}
