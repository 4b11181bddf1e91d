// map_padded_gather
@group(0) @binding(0) var<storage, read> s0: array<f32>;
@group(0) @binding(1) var<storage, read> s1: array<i32>;
@group(0) @binding(2) var<storage, read_write> s2: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let unit = group.x;
  let e = unit * 64u + lane;
  if (e >= 12u) { return; }
  let v0 = ((e - 4u) < 5u);
  let v1 = ((e - 4u) < 5u);
  let x2 = select(0i, s1[select(0u, (e - 4u), v1)], v1);
  let i3 = min(u32(x2), 8u);
  let x4 = select(0.0f, s0[select(0u, i3, v0)], v0);
  s2[e] = x4;
}
