/** Names that the WGSL printer makes up. @module */
import { assert, assertEquals } from "@std/assert";
import { defaultLimits } from "../core/kernel/wgsl.ts";
import { Module } from "../core/kernel/wgsl_expr.ts";
import { sampleNamed } from "./kernel_samples.ts";

Deno.test("wgsl: names made up are all different, and none hides a type", () => {
  const module = new Module(sampleNamed("row_softmax_3x128").kernel, defaultLimits);
  const names = ["i", "u", "f"].flatMap((prefix) => Array.from({ length: 70 }, () => module.fresh(prefix)));
  assertEquals(new Set(names).size, names.length);
  const types = ["i32", "u32", "f32", "f16", "i64", "u64", "f64"];
  assert(!types.some((type) => names.includes(type)));
  const indices = new Module(sampleNamed("row_softmax_3x128").kernel, defaultLimits);
  assert(!Array.from({ length: 70 }, () => indices.fresh("i")).includes("i32"));
});
