/** The metrics of GLUE as pure functions of predictions and what the data says. arXiv:1804.07461, table 1. @module */

/** Name of a metric. */
export type MetricName = "accuracy" | "f1" | "matthews" | "pearson" | "spearman";

/** Predictions and truths of equal length: class numbers for the first three metrics, any numbers for correlations. */
export type Metric = (predicted: readonly number[], truth: readonly number[]) => number;

/** Throws RangeError for lists of different lengths, and for empty ones. */
function requirePairs(predicted: readonly number[], truth: readonly number[]): void {
  if (predicted.length === truth.length && truth.length > 0) return;
  throw new RangeError(
    `A metric needs a prediction for each of at least one row: ${predicted.length} predictions, ${truth.length} rows.`,
  );
}

function countPairs(
  predicted: readonly number[],
  truth: readonly number[],
  counts: (p: number, t: number) => boolean,
): number {
  return predicted.reduce((n, p, i) => n + (counts(p, truth[i]!) ? 1 : 0), 0);
}

/** Share of predictions that are right, 0 to 1. Throws RangeError for lists of different lengths or without rows. */
export const accuracy: Metric = (predicted, truth) => {
  requirePairs(predicted, truth);
  return countPairs(predicted, truth, (p, t) => p === t) / truth.length;
};

/**
 * Harmonic mean of precision and recall of class 1, 2·TP / (2·TP + FP + FN), 0 to 1; 0 where class 1 neither occurs nor
 * is predicted. Throws RangeError as {@linkcode accuracy} does.
 */
export const f1: Metric = (predicted, truth) => {
  requirePairs(predicted, truth);
  const hits = countPairs(predicted, truth, (p, t) => p === 1 && t === 1);
  const misses = countPairs(predicted, truth, (p, t) => (p === 1) !== (t === 1));
  return hits + misses === 0 ? 0 : 2 * hits / (2 * hits + misses);
};

/**
 * Matthews's correlation of two classifications into any number of classes, −1 to 1; 0 where one of them has a single
 * class. Binary: (TP·TN − FP·FN) / √((TP+FP)(TP+FN)(TN+FP)(TN+FN)), doi:10.1016/0005-2795(75)90109-9; the form for
 * several classes: doi:10.1016/j.compbiolchem.2004.09.006. Throws RangeError as {@linkcode accuracy} does.
 */
export const matthews: Metric = (predicted, truth) => {
  requirePairs(predicted, truth);
  const n = truth.length, right = countPairs(predicted, truth, (p, t) => p === t);
  const classes = [...new Set([...predicted, ...truth])];
  const sizes = (list: readonly number[]): number[] =>
    classes.map((c) => list.reduce((k, x) => k + (x === c ? 1 : 0), 0));
  const p = sizes(predicted), t = sizes(truth);
  const dot = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const spread = Math.sqrt(n * n - dot(p, p)) * Math.sqrt(n * n - dot(t, t));
  return spread === 0 ? 0 : (right * n - dot(p, t)) / spread;
};

/**
 * Pearson's correlation, −1 to 1, in float64 around the means; NaN where one of the lists is constant, for which it is
 * not defined. Throws RangeError as {@linkcode accuracy} does.
 */
export const pearson: Metric = (predicted, truth) => {
  requirePairs(predicted, truth);
  const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b) / list.length;
  const mp = mean(predicted), mt = mean(truth);
  let both = 0, pp = 0, tt = 0;
  predicted.forEach((p, i) => {
    const a = p - mp, b = truth[i]! - mt;
    both += a * b;
    pp += a * a;
    tt += b * b;
  });
  const constant = (list: readonly number[]): boolean => list.every((x) => x === list[0]);
  if (constant(predicted) || constant(truth)) return NaN;
  return both / (Math.sqrt(pp) * Math.sqrt(tt));
};

/** Ranks from 1; equal values share the mean of their ranks. */
export function averageRanks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((i, j) => values[i]! - values[j]!);
  const ranks = new Array<number>(values.length);
  for (let from = 0, to = 0; from < order.length; from = to) {
    while (to < order.length && values[order[to]!] === values[order[from]!]) to++;
    for (let k = from; k < to; k++) ranks[order[k]!] = (from + 1 + to) / 2;
  }
  return ranks;
}

/** Spearman's correlation: Pearson's of the ranks, ties at their mean. Throws RangeError as {@linkcode accuracy} does. */
export const spearman: Metric = (predicted, truth) => pearson(averageRanks(predicted), averageRanks(truth));

/** All metrics by name. */
export const METRICS: Readonly<Record<MetricName, Metric>> = { accuracy, f1, matthews, pearson, spearman };
