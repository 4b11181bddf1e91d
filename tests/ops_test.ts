/** Ops against their definitions, in float64. @module */
import { assertEquals } from "@std/assert";
import { checkPrimitive } from "./check_primitive.ts";
import { opRows } from "./op_rows.ts";

Deno.test("every row of the table has its own name", () => {
  assertEquals(new Set(opRows.map((r) => r.name)).size, opRows.length);
});

for (const row of opRows) {
  Deno.test(`${row.name}: shape, and derivatives by central differences`, () => checkPrimitive(row));
}
