/**
 * Kernels for matrix units, rewritten for devices without them: each invocation computes 8 of a matrix's 256 elements
 * from workgroup memory. Slow, and the same numbers; for tests of the printer on any adapter. @module
 */

/** What stands for Dawn's types and functions. */
const STAND_INS = `
struct Right { at: u32, pitch: u32, rows: bool }
fn element(at: u32, pitch: u32, rows: bool, i: u32, j: u32) -> f32 {
  return f32(halves[at + select(j * pitch + i, i * pitch + j, rows)]);
}
// A left matrix may stay in registers while its memory is used again: an invocation keeps the row that it needs of it.
fn load_left(lane: u32, at: u32, pitch: u32, rows: bool) -> array<f32, 16> {
  var row: array<f32, 16>;
  let depth = min(16u, lane + 1000u);
  for (var k = 0u; k < depth; k++) { row[k] = element(at, pitch, rows, lane % 32u / 2u, k); }
  return row;
}
fn multiply(lane: u32, left: array<f32, 16>, r: Right, sum: array<f32, 8>) -> array<f32, 8> {
  var c = sum;
  var l = left;
  // Bounds that compilers do not see through: unrolled, a kernel takes minutes to compile.
  let depth = min(16u, lane + 1000u); let count = min(8u, lane + 1000u);
  for (var e = 0u; e < count; e++) {
    let j = (lane % 32u * 8u + e) % 16u;
    for (var k = 0u; k < depth; k++) {
      c[e] += l[k] * element(r.at, r.pitch, r.rows, k, j);
    }
  }
  return c;
}
fn keep(lane: u32, at: u32, pitch: u32, sum: array<f32, 8>) {
  var c = sum;
  for (var e = 0u; e < 8u; e++) {
    sums[at + (lane % 32u * 8u + e) / 16u * pitch + (lane % 32u * 8u + e) % 16u] = c[e];
  }
}
fn sums_at(at: u32) -> vec4f { return vec4f(sums[4u * at], sums[4u * at + 1u], sums[4u * at + 2u], sums[4u * at + 3u]); }
fn take(lane: u32, at: u32, pitch: u32) -> array<f32, 8> {
  var c: array<f32, 8>;
  for (var e = 0u; e < 8u; e++) {
    c[e] = sums[at + (lane % 32u * 8u + e) / 16u * pitch + (lane % 32u * 8u + e) % 16u];
  }
  return c;
}
fn put_sums(at: u32, value: vec4f) {
  sums[4u * at] = value.x; sums[4u * at + 1u] = value.y; sums[4u * at + 2u] = value.z; sums[4u * at + 3u] = value.w;
}
fn put(at: u32, value: vec4<f16>) {
  halves[4u * at] = value.x; halves[4u * at + 1u] = value.y; halves[4u * at + 2u] = value.z; halves[4u * at + 3u] = value.w;
}
`;

/** Stands for what subgroups do together in kernels that have numbers of each: every subgroup has 32 invocations. */
const SUBGROUPS = `
var<workgroup> extremes: array<atomic<i32>, 4>;
fn extreme(lane: u32, start: i32) {
  workgroupBarrier();
  if (lane % 32u == 0u) { atomicStore(&extremes[lane / 32u], start); }
  workgroupBarrier();
}
fn subgroup_min(lane: u32, value: i32) -> i32 {
  extreme(lane, 0x7fffffff);
  atomicMin(&extremes[lane / 32u], value);
  workgroupBarrier();
  return atomicLoad(&extremes[lane / 32u]);
}
fn subgroup_max(lane: u32, value: i32) -> i32 {
  extreme(lane, -0x7fffffff);
  atomicMax(&extremes[lane / 32u], value);
  workgroupBarrier();
  return atomicLoad(&extremes[lane / 32u]);
}
fn load_marks() -> vec4i {
  return vec4i(workgroupUniformLoad(&marks[0]), workgroupUniformLoad(&marks[1]),
    workgroupUniformLoad(&marks[2]), workgroupUniformLoad(&marks[3]));
}
`;

/** Text of a kernel for matrix units → text that any device with f16 runs. */
export function emulateMatrix(code: string): string {
  const sizeOf = (view: string): number =>
    // Kernels that are launched together share the memory, each with views of its own size.
    Math.max(
      ...[...code.matchAll(new RegExp(`let ${view} = bufferView<array<\\w+, (\\d+)>>`, "g"))].map((m) =>
        Number(m[1])
      ),
    );
  // Views that matrix units do not read become variables of their own.
  const others = [...code.matchAll(/let (marks|segments) = bufferView<(.*)>\(&memory, \d+u\);$/gm)]
    .map(([, view, type]) => `var<workgroup> ${view}: ${type};`);
  const rewritten = code
    .replace(/^(enable (subgroups|chromium_experimental_subgroup_matrix)|requires|diagnostic).*$/gm, "")
    .replace(
      /var<workgroup> \w+: buffer<.*$/m,
      `var<workgroup> halves: array<f16, ${sizeOf("halves")}>;\nvar<workgroup> sums: array<f32, ${
        sizeOf("sums")
      }>;${others.join("\n")}${others.length > 0 ? SUBGROUPS : ""}${STAND_INS}`,
    )
    .replace(/^ *let \w+ = bufferView.*$/gm, "")
    .replace(/subgroup(Min|Max)\(/g, (_, op: string) => `subgroup_${op.toLowerCase()}(lane, `)
    .replace(/workgroupUniformLoad\(&marks4\[0\]\)/g, "load_marks()")
    .replace(/quads\[(.*)\] = (\w+);/g, "put($1, $2);")
    .replace(/sums4\[([^\]]*)\] = (.*);/g, "put_sums($1, $2);")
    .replace(/sums4\[([^\]]*)\]/g, "sums_at($1)")
    .replace(/subgroup_matrix_result<f32, 16, 16>/g, "array<f32, 8>")
    .replace(/subgroupMatrixLoad<array<f32, 8>, row_major>\(sums, /g, "take(lane, ")
    .replace(
      /subgroupMatrixLoad<subgroup_matrix_(left|right)<f16, 16, 16>, (row|col)_major>\(halves, /g,
      (_, side: string, major: string) => `${side === "left" ? "Left" : "Right"}_${major}(`,
    )
    .replace(
      /(Left|Right)_(row|col)\((.*), (\d+)u\);/g,
      (_, side, major, at, pitch) =>
        `${side === "Left" ? "load_left(lane, " : "Right("}${at}, ${pitch}u, ${major === "row"});`,
    )
    .replace(/subgroupMatrixMultiplyAccumulate\(/g, "multiply(lane, ")
    .replace(/subgroupMatrixStore<row_major>\(sums, (.*), (\w+), (\d+)u\);/g, "keep(lane, $1, $3u, $2);");
  const left = /subgroup_?[mM]atrix|bufferView|quads/.exec(rewritten);
  if (left) throw new Error(`The emulation does not know ${left[0]} in\n${rewritten}`);
  return rewritten;
}
