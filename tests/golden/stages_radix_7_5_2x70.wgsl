// stages_radix_7_5_2x70
@group(0) @binding(0) var<storage, read> s0: array<f32>;
@group(0) @binding(1) var<storage, read> s1: array<f32>;
@group(0) @binding(2) var<storage, read_write> s2: array<f32>;
var<workgroup> tile: array<vec2f, 70>;
fn load(row: u32, f: u32) -> f32 {
  let x0 = s0[(f + row * 70u)];
  return x0;
}
fn store(row: u32, f: u32, result: f32) {
  s2[(f + row * 70u)] = result;
}
@compute @workgroup_size(70)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let unit = group.x;
  let p = lane % 70u;
  let own = lane / 70u;
  let chunk = unit % 1u;
  let row = unit / 1u * 2u + own * 2u;
  {
    let position = p;
    let f = chunk * 70u + position;
    tile[own * 70u + position] = vec2f(load(row, f), load(row + 1u, f));
  }
  workgroupBarrier();
  {
    var y0 = vec2f();
    {
      let position = p;
      let inside = position / 2u % 1u;
      let n = chunk * 5u + position / 14u * 1u + inside;
      let j = position / 2u % 7u * 2u + position % 2u;
      let first = position / 14u * 14u + inside * 2u;
      let c1 = s1[0u + (n * 14u + j) * 14u + 0u];
      y0 = fma(vec2f(c1), tile[own * 70u + first + 0u], y0);
      let c2 = s1[0u + (n * 14u + j) * 14u + 1u];
      y0 = fma(vec2f(c2), tile[own * 70u + first + 1u], y0);
      let c3 = s1[0u + (n * 14u + j) * 14u + 2u];
      y0 = fma(vec2f(c3), tile[own * 70u + first + 2u], y0);
      let c4 = s1[0u + (n * 14u + j) * 14u + 3u];
      y0 = fma(vec2f(c4), tile[own * 70u + first + 3u], y0);
      let c5 = s1[0u + (n * 14u + j) * 14u + 4u];
      y0 = fma(vec2f(c5), tile[own * 70u + first + 4u], y0);
      let c6 = s1[0u + (n * 14u + j) * 14u + 5u];
      y0 = fma(vec2f(c6), tile[own * 70u + first + 5u], y0);
      let c7 = s1[0u + (n * 14u + j) * 14u + 6u];
      y0 = fma(vec2f(c7), tile[own * 70u + first + 6u], y0);
      let c8 = s1[0u + (n * 14u + j) * 14u + 7u];
      y0 = fma(vec2f(c8), tile[own * 70u + first + 7u], y0);
      let c9 = s1[0u + (n * 14u + j) * 14u + 8u];
      y0 = fma(vec2f(c9), tile[own * 70u + first + 8u], y0);
      let c10 = s1[0u + (n * 14u + j) * 14u + 9u];
      y0 = fma(vec2f(c10), tile[own * 70u + first + 9u], y0);
      let c11 = s1[0u + (n * 14u + j) * 14u + 10u];
      y0 = fma(vec2f(c11), tile[own * 70u + first + 10u], y0);
      let c12 = s1[0u + (n * 14u + j) * 14u + 11u];
      y0 = fma(vec2f(c12), tile[own * 70u + first + 11u], y0);
      let c13 = s1[0u + (n * 14u + j) * 14u + 12u];
      y0 = fma(vec2f(c13), tile[own * 70u + first + 12u], y0);
      let c14 = s1[0u + (n * 14u + j) * 14u + 13u];
      y0 = fma(vec2f(c14), tile[own * 70u + first + 13u], y0);
    }
    workgroupBarrier();
    {
      let position = p;
      tile[own * 70u + position] = y0;
    }
    workgroupBarrier();
  }
  {
    var y0 = vec2f();
    {
      let position = p;
      let inside = position / 2u % 7u;
      let n = chunk * 7u + position / 70u * 7u + inside;
      let j = position / 14u % 5u * 2u + position % 2u;
      let first = position / 70u * 70u + inside * 2u;
      let c15 = s1[980u + (n * 10u + j) * 10u + 0u];
      y0 = fma(vec2f(c15), tile[own * 70u + first + 0u], y0);
      let c16 = s1[980u + (n * 10u + j) * 10u + 1u];
      y0 = fma(vec2f(c16), tile[own * 70u + first + 1u], y0);
      let c17 = s1[980u + (n * 10u + j) * 10u + 2u];
      y0 = fma(vec2f(c17), tile[own * 70u + first + 14u], y0);
      let c18 = s1[980u + (n * 10u + j) * 10u + 3u];
      y0 = fma(vec2f(c18), tile[own * 70u + first + 15u], y0);
      let c19 = s1[980u + (n * 10u + j) * 10u + 4u];
      y0 = fma(vec2f(c19), tile[own * 70u + first + 28u], y0);
      let c20 = s1[980u + (n * 10u + j) * 10u + 5u];
      y0 = fma(vec2f(c20), tile[own * 70u + first + 29u], y0);
      let c21 = s1[980u + (n * 10u + j) * 10u + 6u];
      y0 = fma(vec2f(c21), tile[own * 70u + first + 42u], y0);
      let c22 = s1[980u + (n * 10u + j) * 10u + 7u];
      y0 = fma(vec2f(c22), tile[own * 70u + first + 43u], y0);
      let c23 = s1[980u + (n * 10u + j) * 10u + 8u];
      y0 = fma(vec2f(c23), tile[own * 70u + first + 56u], y0);
      let c24 = s1[980u + (n * 10u + j) * 10u + 9u];
      y0 = fma(vec2f(c24), tile[own * 70u + first + 57u], y0);
    }
    workgroupBarrier();
    {
      let position = p;
      tile[own * 70u + position] = y0;
    }
    workgroupBarrier();
  }
  {
    let position = p;
    let f = chunk * 70u + position;
    let y: vec2f = tile[own * 70u + position];
    store(row, f, y[0]);
    store(row + 1u, f, y[1]);
  }
}
