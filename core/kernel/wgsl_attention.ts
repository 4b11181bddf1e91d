import type { AttentionForm } from "./kernel.ts";
import type { Grid } from "./wgsl.ts";
import type { Scope } from "./wgsl_expr.ts";
export function attention(_scope: Scope, _body: AttentionForm): Grid {
  throw new Error("todo");
}
