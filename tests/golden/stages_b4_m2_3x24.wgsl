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
var<workgroup> tile: array<vec4f, 1024>;
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let unit = group.x;
  let quad = lane % 2u;
  let team = lane / 2u;
  let f4 = unit % 3u * 2u + quad;
  let g = f4 / 2u;
  let start = unit / 3u * 512u + team * 8u;
  var q0: vec4f;
  var q1: vec4f;
  var q2: vec4f;
  var q3: vec4f;
  var q4: vec4f;
  var q5: vec4f;
  var q6: vec4f;
  var q7: vec4f;
  q0 = load(min(start + 0u, 2u), f4);
  q1 = load(min(start + 0u + 1u, 2u), f4);
  q2 = load(min(start + 0u + 2u, 2u), f4);
  q3 = load(min(start + 0u + 3u, 2u), f4);
  q4 = load(min(start + 0u + 4u, 2u), f4);
  q5 = load(min(start + 0u + 5u, 2u), f4);
  q6 = load(min(start + 0u + 6u, 2u), f4);
  q7 = load(min(start + 0u + 7u, 2u), f4);
  let quad1 = f4 % 2u;
  let u2 = select(vec4f(), vec4f(1.0f, 0.0f, 0.0f, 0.0f), quad1 == 0u);
  let u3 = select(vec4f(), vec4f(0.0f, 1.0f, 0.0f, 0.0f), quad1 == 0u);
  let u4 = select(vec4f(), vec4f(0.0f, 0.0f, 1.0f, 0.0f), quad1 == 0u);
  let u5 = select(vec4f(), vec4f(0.0f, 0.0f, 0.0f, 1.0f), quad1 == 0u);
  let u6 = select(vec4f(), vec4f(1.0f, 0.0f, 0.0f, 0.0f), quad1 == 1u);
  let u7 = select(vec4f(), vec4f(0.0f, 1.0f, 0.0f, 0.0f), quad1 == 1u);
  let u9 = select(vec4f(), vec4f(0.0f, 0.0f, 1.0f, 0.0f), quad1 == 1u);
  let u10 = select(vec4f(), vec4f(0.0f, 0.0f, 0.0f, 1.0f), quad1 == 1u);
  let b11 = g * 8u + 24u;
  var y12 = vec4f();
  var y13 = vec4f();
  var y16 = vec4f();
  var y17 = vec4f();
  let c20 = s1[b11];
  y12 += c20.x * u2;
  y13 += c20.y * u2;
  y16 += c20.z * u2;
  y17 += c20.w * u2;
  let c21 = s1[b11 + 1u];
  y12 += c21.x * u3;
  y13 += c21.y * u3;
  y16 += c21.z * u3;
  y17 += c21.w * u3;
  let c22 = s1[b11 + 2u];
  y12 += c22.x * u6;
  y13 += c22.y * u6;
  y16 += c22.z * u6;
  y17 += c22.w * u6;
  let c23 = s1[b11 + 3u];
  y12 += c23.x * u7;
  y13 += c23.y * u7;
  y16 += c23.z * u7;
  y17 += c23.w * u7;
  var y14 = vec4f();
  var y15 = vec4f();
  var y18 = vec4f();
  var y19 = vec4f();
  let c24 = s1[b11 + 4u];
  y14 += c24.x * u4;
  y15 += c24.y * u4;
  y18 += c24.z * u4;
  y19 += c24.w * u4;
  let c25 = s1[b11 + 4u + 1u];
  y14 += c25.x * u5;
  y15 += c25.y * u5;
  y18 += c25.z * u5;
  y19 += c25.w * u5;
  let c26 = s1[b11 + 4u + 2u];
  y14 += c26.x * u9;
  y15 += c26.y * u9;
  y18 += c26.z * u9;
  y19 += c26.w * u9;
  let c27 = s1[b11 + 4u + 3u];
  y14 += c27.x * u10;
  y15 += c27.y * u10;
  y18 += c27.z * u10;
  y19 += c27.w * u10;
  let b28 = g * 8u;
  var y29 = vec4f();
  var y30 = vec4f();
  var y31 = vec4f();
  var y32 = vec4f();
  let c37 = s1[b28];
  y29 += c37.x * y12;
  y30 += c37.y * y12;
  y31 += c37.z * y12;
  y32 += c37.w * y12;
  let c38 = s1[b28 + 1u];
  y29 += c38.x * y13;
  y30 += c38.y * y13;
  y31 += c38.z * y13;
  y32 += c38.w * y13;
  let c39 = s1[b28 + 2u];
  y29 += c39.x * y14;
  y30 += c39.y * y14;
  y31 += c39.z * y14;
  y32 += c39.w * y14;
  let c40 = s1[b28 + 3u];
  y29 += c40.x * y15;
  y30 += c40.y * y15;
  y31 += c40.z * y15;
  y32 += c40.w * y15;
  var y33 = vec4f();
  var y34 = vec4f();
  var y35 = vec4f();
  var y36 = vec4f();
  let c41 = s1[b28 + 4u];
  y33 += c41.x * y16;
  y34 += c41.y * y16;
  y35 += c41.z * y16;
  y36 += c41.w * y16;
  let c42 = s1[b28 + 4u + 1u];
  y33 += c42.x * y17;
  y34 += c42.y * y17;
  y35 += c42.z * y17;
  y36 += c42.w * y17;
  let c43 = s1[b28 + 4u + 2u];
  y33 += c43.x * y18;
  y34 += c43.y * y18;
  y35 += c43.z * y18;
  y36 += c43.w * y18;
  let c44 = s1[b28 + 4u + 3u];
  y33 += c44.x * y19;
  y34 += c44.y * y19;
  y35 += c44.z * y19;
  y36 += c44.w * y19;
  let first = f4 % 2u;
  for (var r = 0u; r < 8u; r += 8u) {
    tile[(team * 8u + 0u) * 2u + quad] = q0;
    tile[(team * 8u + 1u) * 2u + quad] = q1;
    tile[(team * 8u + 2u) * 2u + quad] = q2;
    tile[(team * 8u + 3u) * 2u + quad] = q3;
    tile[(team * 8u + 4u) * 2u + quad] = q4;
    tile[(team * 8u + 5u) * 2u + quad] = q5;
    tile[(team * 8u + 6u) * 2u + quad] = q6;
    tile[(team * 8u + 7u) * 2u + quad] = q7;
    workgroupBarrier();
    for (var i = 0u; i < 8u; i += 2u) {
      {
        let x = (team * 8u + i) * 2u + quad - first;
        let x0 = tile[x];
        let x1 = tile[x + 1u];
        store(start + r + i, f4, y29 * x0.x + y30 * x0.y + y31 * x0.z + y32 * x0.w + y33 * x1.x + y34 * x1.y + y35 * x1.z + y36 * x1.w);
      }
      {
        let x = (team * 8u + i + 1u) * 2u + quad - first;
        let x0 = tile[x];
        let x1 = tile[x + 1u];
        store(start + r + i + 1u, f4, y29 * x0.x + y30 * x0.y + y31 * x0.z + y32 * x0.w + y33 * x1.x + y34 * x1.y + y35 * x1.z + y36 * x1.w);
      }
    }
    workgroupBarrier();
  }
}
