// stages_b4_m2_3x24
@group(0) @binding(0) var<storage, read> s0: array<f32>;
@group(0) @binding(1) var<storage, read> s1: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> s2: array<f32>;
var<workgroup> tile: array<vec4f, 24>;
fn load(row: u32, f: u32) -> f32 {
  let x0 = s0[(f + row * 24u)];
  return x0;
}
fn store(row: u32, f: u32, result: f32) {
  if (row >= 3u) { return; }
  s2[(f + row * 24u)] = result;
}
@compute @workgroup_size(24)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let unit = group.x;
  let p = lane % 24u;
  let own = lane / 24u;
  let chunk = unit % 1u;
  let row = unit / 1u * 4u + own * 4u;
  {
    let position = p;
    let f = chunk * 24u + position;
    tile[own * 24u + position] = vec4f(load(min(row, 2u), f), load(min(row + 1u, 2u), f), load(min(row + 2u, 2u), f), load(min(row + 3u, 2u), f));
  }
  workgroupBarrier();
  {
    var y0 = vec4f();
    {
      let position = p;
      let inside = position / 1u % 1u;
      let n = chunk * 6u + position / 4u * 1u + inside;
      let j = position / 1u % 4u * 1u + position % 1u;
      let first = position / 4u * 4u + inside * 1u;
      let c1 = s1[(0u + (n * 4u + j) * 4u + 0u) / 4u];
      y0 = fma(vec4f(c1.x), tile[own * 24u + first + 0u], y0);
      y0 = fma(vec4f(c1.y), tile[own * 24u + first + 1u], y0);
      y0 = fma(vec4f(c1.z), tile[own * 24u + first + 2u], y0);
      y0 = fma(vec4f(c1.w), tile[own * 24u + first + 3u], y0);
    }
    workgroupBarrier();
    {
      let position = p;
      tile[own * 24u + position] = y0;
    }
    workgroupBarrier();
  }
  {
    var y0 = vec4f();
    {
      let position = p;
      let inside = position / 2u % 2u;
      let n = chunk * 6u + position / 8u * 2u + inside;
      let j = position / 4u % 2u * 2u + position % 2u;
      let first = position / 8u * 8u + inside * 2u;
      let c2 = s1[(96u + (n * 4u + j) * 4u + 0u) / 4u];
      y0 = fma(vec4f(c2.x), tile[own * 24u + first + 0u], y0);
      y0 = fma(vec4f(c2.y), tile[own * 24u + first + 1u], y0);
      y0 = fma(vec4f(c2.z), tile[own * 24u + first + 4u], y0);
      y0 = fma(vec4f(c2.w), tile[own * 24u + first + 5u], y0);
    }
    workgroupBarrier();
    {
      let position = p;
      tile[own * 24u + position] = y0;
    }
    workgroupBarrier();
  }
  {
    let position = p;
    let f = chunk * 24u + position;
    let y: vec4f = tile[own * 24u + position];
    store(row, f, y[0]);
    store(row + 1u, f, y[1]);
    store(row + 2u, f, y[2]);
    store(row + 3u, f, y[3]);
  }
}
