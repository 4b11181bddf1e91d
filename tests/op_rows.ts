/** Every op as a row of data: what to call on which inputs. The checks and the targets all run this table. @module */
import { elementwise, random, views } from "./op_rows/elementwise.ts";
import type { OpRow } from "./op_rows/row.ts";
import { complex, structured } from "./op_rows/structured.ts";
import { contractions, reductions } from "./op_rows/sums.ts";

export { noise, type OpRow, valuesOf } from "./op_rows/row.ts";

/** All rows. */
export const opRows: readonly OpRow[] = [
  ...elementwise,
  ...views,
  ...reductions,
  ...contractions,
  ...structured,
  ...complex,
  ...random,
];
