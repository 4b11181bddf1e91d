// solve_3x8x8
@group(0) @binding(0) var<storage, read> s0: array<f32>;
@group(0) @binding(1) var<storage, read> s1: array<f32>;
@group(0) @binding(2) var<storage, read_write> s2: array<f32>;
var<workgroup> matrix: array<f32, 384>;
fn left(b: u32, i: u32, k: u32) -> f32 {
  let x0 = s0[(b * 64u + i * 8u + k)];
  return x0;
}
fn right(b: u32, i: u32, c: u32) -> f32 {
  let x1 = s1[(b * 64u + c + i * 8u)];
  return x1;
}
@compute @workgroup_size(48)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let unit = group.x;
  let own = lane % 16u;
  let base = lane / 16u * 128u;
  let b = unit / 1u * 3u + lane / 16u;
  let c = unit % 1u * 8u + max(own, 8u) - 8u;
  for (var i = 0u; i < 8u; i++) {
    if (own < 8u) { matrix[base + i * 16u + own] = left(b, i, own); } else { matrix[base + i * 16u + own] = right(b, i, c); }
  }
  workgroupBarrier();
  for (var pivot = 0u; pivot < 8u; pivot++) {
    if (own > pivot) {
      let factor = matrix[base + pivot * 16u + own] / matrix[base + pivot * 16u + pivot];
      matrix[base + 0u * 16u + own] -= select(matrix[base + 0u * 16u + pivot] * factor, 0.0f, 0u == pivot);
      matrix[base + 1u * 16u + own] -= select(matrix[base + 1u * 16u + pivot] * factor, 0.0f, 1u == pivot);
      matrix[base + 2u * 16u + own] -= select(matrix[base + 2u * 16u + pivot] * factor, 0.0f, 2u == pivot);
      matrix[base + 3u * 16u + own] -= select(matrix[base + 3u * 16u + pivot] * factor, 0.0f, 3u == pivot);
      matrix[base + 4u * 16u + own] -= select(matrix[base + 4u * 16u + pivot] * factor, 0.0f, 4u == pivot);
      matrix[base + 5u * 16u + own] -= select(matrix[base + 5u * 16u + pivot] * factor, 0.0f, 5u == pivot);
      matrix[base + 6u * 16u + own] -= select(matrix[base + 6u * 16u + pivot] * factor, 0.0f, 6u == pivot);
      matrix[base + 7u * 16u + own] -= select(matrix[base + 7u * 16u + pivot] * factor, 0.0f, 7u == pivot);
    }
    workgroupBarrier();
  }
  if (own >= 8u) {
    for (var i = 0u; i < 8u; i++) {
      let x = matrix[base + i * 16u + own] / matrix[base + i * 16u + i];
      s2[(b * 64u + c + i * 8u)] = x;
    }
  }
}
