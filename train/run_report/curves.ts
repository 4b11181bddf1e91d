/** Curves as they are drawn: fewer points, smoothed. Pure. @module */

/** A point of a curve. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** Points of which `y` is known. */
export function known(points: readonly { readonly x: number; readonly y: number | null }[]): Point[] {
  return points.flatMap(({ x, y }) => y === null ? [] : [{ x, y }]);
}

/** At most `most` points: means of as many neighbours each. */
export function thin(points: readonly Point[], most: number): Point[] {
  const width = Math.ceil(points.length / most);
  if (width <= 1) return [...points];
  return Array.from({ length: Math.ceil(points.length / width) }, (_, i) => {
    const group = points.slice(i * width, (i + 1) * width);
    const mean = (of: (p: Point) => number): number => group.reduce((n, p) => n + of(p), 0) / group.length;
    return { x: mean((p) => p.x), y: mean((p) => p.y) };
  });
}

/**
 * Exponentially smoothed, each mean divided by the sum of its weights so that the first points do not pull (Adam's bias
 * correction, arXiv:1412.6980). The weight of a point falls to 1/e over `span` points.
 */
export function smooth(points: readonly Point[], span: number): Point[] {
  const keep = Math.exp(-1 / span);
  let sum = 0, weight = 0;
  return points.map(({ x, y }) => {
    sum = keep * sum + y;
    weight = keep * weight + 1;
    return { x, y: sum / weight };
  });
}
