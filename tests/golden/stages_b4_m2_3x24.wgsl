// stages_b4_m2_3x24
@group(0) @binding(0) var<storage, read> s0: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> s1: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> s2: array<vec4<f32>>;
fn load(row: u32, f4: u32) -> vec4f {
  let x0 = s0[(f4 + row * 6u)];
  return vec4f(x0.x, x0.y, x0.z, x0.w);
}
fn store(row: u32, f4: u32, result: vec4f) {
  if (row >= 3u) { return; }
  s2[(f4 + row * 6u)] = vec4<f32>(result.x, result.y, result.z, result.w);
}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let unit = group.x;
  let g = unit % 3u * 1u + lane % 1u;
  let row = unit / 3u * 128u + lane / 1u;
  let q1 = load(min(row, 2u), g * 2u);
  let q2 = load(min(row + 64u, 2u), g * 2u);
  let v3 = vec2f(q1.x, q2.x);
  let v4 = vec2f(q1.y, q2.y);
  let v5 = vec2f(q1.z, q2.z);
  let v6 = vec2f(q1.w, q2.w);
  let q7 = load(min(row, 2u), g * 2u + 1u);
  let q8 = load(min(row + 64u, 2u), g * 2u + 1u);
  let v9 = vec2f(q7.x, q8.x);
  let v10 = vec2f(q7.y, q8.y);
  let v11 = vec2f(q7.z, q8.z);
  let v12 = vec2f(q7.w, q8.w);
  let b13 = g * 8u;
  let c22 = s1[b13];
  let y14 = c22.x * v3 + c22.y * v4 + c22.z * v5 + c22.w * v6;
  let c23 = s1[b13 + 1u];
  let y15 = c23.x * v3 + c23.y * v4 + c23.z * v5 + c23.w * v6;
  let c24 = s1[b13 + 2u];
  let y16 = c24.x * v3 + c24.y * v4 + c24.z * v5 + c24.w * v6;
  let c25 = s1[b13 + 3u];
  let y17 = c25.x * v3 + c25.y * v4 + c25.z * v5 + c25.w * v6;
  let c26 = s1[b13 + 4u];
  let y18 = c26.x * v9 + c26.y * v10 + c26.z * v11 + c26.w * v12;
  let c27 = s1[b13 + 5u];
  let y19 = c27.x * v9 + c27.y * v10 + c27.z * v11 + c27.w * v12;
  let c28 = s1[b13 + 6u];
  let y20 = c28.x * v9 + c28.y * v10 + c28.z * v11 + c28.w * v12;
  let c29 = s1[b13 + 7u];
  let y21 = c29.x * v9 + c29.y * v10 + c29.z * v11 + c29.w * v12;
  let b30 = g * 8u + 24u;
  let c39 = s1[b30];
  let y31 = c39.x * y14 + c39.y * y15 + c39.z * y18 + c39.w * y19;
  let c40 = s1[b30 + 1u];
  let y32 = c40.x * y14 + c40.y * y15 + c40.z * y18 + c40.w * y19;
  let c41 = s1[b30 + 2u];
  let y35 = c41.x * y14 + c41.y * y15 + c41.z * y18 + c41.w * y19;
  let c42 = s1[b30 + 3u];
  let y36 = c42.x * y14 + c42.y * y15 + c42.z * y18 + c42.w * y19;
  let c43 = s1[b30 + 4u];
  let y33 = c43.x * y16 + c43.y * y17 + c43.z * y20 + c43.w * y21;
  let c44 = s1[b30 + 5u];
  let y34 = c44.x * y16 + c44.y * y17 + c44.z * y20 + c44.w * y21;
  let c45 = s1[b30 + 6u];
  let y37 = c45.x * y16 + c45.y * y17 + c45.z * y20 + c45.w * y21;
  let c46 = s1[b30 + 7u];
  let y38 = c46.x * y16 + c46.y * y17 + c46.z * y20 + c46.w * y21;
  store(row, g * 2u, vec4f(y31[0], y32[0], y33[0], y34[0]));
  store(row + 64u, g * 2u, vec4f(y31[1], y32[1], y33[1], y34[1]));
  store(row, g * 2u + 1u, vec4f(y35[0], y36[0], y37[0], y38[0]));
  store(row + 64u, g * 2u + 1u, vec4f(y35[1], y36[1], y37[1], y38[1]));
}
