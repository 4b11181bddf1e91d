// contract_low_rank
@group(0) @binding(0) var<storage, read> s0: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> s1: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> s2: array<f32>;
@group(0) @binding(3) var<storage, read> s3: array<f32>;
@group(0) @binding(4) var<storage, read> s4: array<f32>;
@group(0) @binding(5) var<storage, read> s5: array<f32>;
@group(0) @binding(6) var<storage, read_write> s6: array<f32>;
var<workgroup> tile: array<vec4f, 512>;
fn left0(b: u32, m: u32, k4: u32) -> vec4f {
  let x0 = s0[(k4 + m * 10u)];
  return vec4f(x0.x, x0.y, x0.z, x0.w);
}
fn right0(b: u32, n: u32, k4: u32) -> vec4f {
  let x1 = s1[(k4 + n * 10u)];
  return vec4f(x1.x, x1.y, x1.z, x1.w);
}
fn left1(b: u32, m: u32, k: u32) -> f32 {
  let x2 = s4[0u];
  let x3 = s2[(k + m * 5u)];
  return (x2 * x3);
}
fn right1(b: u32, n: u32, k: u32) -> f32 {
  let x4 = s3[(k + n * 5u)];
  return x4;
}
fn finish1(b: u32, m: u32, n: u32, sum: f32) {
  if (m >= 21u || n >= 34u) { return; }
  let x5 = s5[n];
  s6[(m * 34u + n)] = (sum + x5);
}
fn finish(b: u32, m: u32, n4: u32, sum: vec4f) {
  finish1(b, m, n4 * 4u, sum.x);
  finish1(b, m, n4 * 4u + 1u, sum.y);
  finish1(b, m, n4 * 4u + 2u, sum.z);
  finish1(b, m, n4 * 4u + 3u, sum.w);
}
@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let unit = group.x;
  let n0 = unit % 3u * 16u;
  let m0 = unit / 3u % 2u * 16u;
  let b = unit / 6u;
  let tx = lane % 16u % 4u;
  let ty = (lane % 16u) / 4u;
  let part = lane / 16u;
  var c0_0 = vec4f();
  var c1_0 = vec4f();
  var c2_0 = vec4f();
  var c3_0 = vec4f();
  {
    var left0_0: vec4f;
    var right0_0: vec4f;
    var k0 = 0u;
    left0_0 = select(vec4f(), left0(b, min(m0 + lane / 8u, 20u), min(k0 / 4u + lane % 8u, 9u)), k0 / 4u + lane % 8u < 10u);
    right0_0 = select(vec4f(), right0(b, min(n0 + lane / 8u, 33u), min(k0 / 4u + lane % 8u, 9u)), k0 / 4u + lane % 8u < 10u);
    loop {
      tile[((lane % 8u) * 4u) * 9u + (lane / 8u) / 4u][(lane / 8u) % 4u] = left0_0.x;
      tile[((lane % 8u) * 4u + 1u) * 9u + (lane / 8u) / 4u][(lane / 8u) % 4u] = left0_0.y;
      tile[((lane % 8u) * 4u + 2u) * 9u + (lane / 8u) / 4u][(lane / 8u) % 4u] = left0_0.z;
      tile[((lane % 8u) * 4u + 3u) * 9u + (lane / 8u) / 4u][(lane / 8u) % 4u] = left0_0.w;
      tile[((lane % 8u) * 4u) * 9u + (lane / 8u) / 4u + 4u][(lane / 8u) % 4u] = right0_0.x;
      tile[((lane % 8u) * 4u + 1u) * 9u + (lane / 8u) / 4u + 4u][(lane / 8u) % 4u] = right0_0.y;
      tile[((lane % 8u) * 4u + 2u) * 9u + (lane / 8u) / 4u + 4u][(lane / 8u) % 4u] = right0_0.z;
      tile[((lane % 8u) * 4u + 3u) * 9u + (lane / 8u) / 4u + 4u][(lane / 8u) % 4u] = right0_0.w;
      workgroupBarrier();
      k0 += 32u;
      if (k0 < 40u) {
        left0_0 = select(vec4f(), left0(b, min(m0 + lane / 8u, 20u), min(k0 / 4u + lane % 8u, 9u)), k0 / 4u + lane % 8u < 10u);
        right0_0 = select(vec4f(), right0(b, min(n0 + lane / 8u, 33u), min(k0 / 4u + lane % 8u, 9u)), k0 / 4u + lane % 8u < 10u);
      }
      {
        let l0 = tile[(part * 4u) * 9u + ty * 1u];
        let r0 = tile[(part * 4u) * 9u + tx + 4u];
        c0_0 = fma(vec4f(l0.x), r0, c0_0);
        c1_0 = fma(vec4f(l0.y), r0, c1_0);
        c2_0 = fma(vec4f(l0.z), r0, c2_0);
        c3_0 = fma(vec4f(l0.w), r0, c3_0);
      }
      {
        let l0 = tile[(part * 4u + 1u) * 9u + ty * 1u];
        let r0 = tile[(part * 4u + 1u) * 9u + tx + 4u];
        c0_0 = fma(vec4f(l0.x), r0, c0_0);
        c1_0 = fma(vec4f(l0.y), r0, c1_0);
        c2_0 = fma(vec4f(l0.z), r0, c2_0);
        c3_0 = fma(vec4f(l0.w), r0, c3_0);
      }
      {
        let l0 = tile[(part * 4u + 2u) * 9u + ty * 1u];
        let r0 = tile[(part * 4u + 2u) * 9u + tx + 4u];
        c0_0 = fma(vec4f(l0.x), r0, c0_0);
        c1_0 = fma(vec4f(l0.y), r0, c1_0);
        c2_0 = fma(vec4f(l0.z), r0, c2_0);
        c3_0 = fma(vec4f(l0.w), r0, c3_0);
      }
      {
        let l0 = tile[(part * 4u + 3u) * 9u + ty * 1u];
        let r0 = tile[(part * 4u + 3u) * 9u + tx + 4u];
        c0_0 = fma(vec4f(l0.x), r0, c0_0);
        c1_0 = fma(vec4f(l0.y), r0, c1_0);
        c2_0 = fma(vec4f(l0.z), r0, c2_0);
        c3_0 = fma(vec4f(l0.w), r0, c3_0);
      }
      workgroupBarrier();
      if (k0 >= 40u) { break; }
    }
  }
  {
    var left1_0: f32;
    var left1_1: f32;
    var left1_2: f32;
    var left1_3: f32;
    var right1_0: f32;
    var right1_1: f32;
    var right1_2: f32;
    var right1_3: f32;
    var k0 = 0u;
    left1_0 = select(0.0f, left1(b, min(m0 + lane / 32u, 20u), min(k0 + lane % 32u, 4u)), k0 + lane % 32u < 5u);
    left1_1 = select(0.0f, left1(b, min(m0 + lane / 32u + 4u, 20u), min(k0 + lane % 32u, 4u)), k0 + lane % 32u < 5u);
    left1_2 = select(0.0f, left1(b, min(m0 + lane / 32u + 8u, 20u), min(k0 + lane % 32u, 4u)), k0 + lane % 32u < 5u);
    left1_3 = select(0.0f, left1(b, min(m0 + lane / 32u + 12u, 20u), min(k0 + lane % 32u, 4u)), k0 + lane % 32u < 5u);
    right1_0 = select(0.0f, right1(b, min(n0 + lane / 32u, 33u), min(k0 + lane % 32u, 4u)), k0 + lane % 32u < 5u);
    right1_1 = select(0.0f, right1(b, min(n0 + lane / 32u + 4u, 33u), min(k0 + lane % 32u, 4u)), k0 + lane % 32u < 5u);
    right1_2 = select(0.0f, right1(b, min(n0 + lane / 32u + 8u, 33u), min(k0 + lane % 32u, 4u)), k0 + lane % 32u < 5u);
    right1_3 = select(0.0f, right1(b, min(n0 + lane / 32u + 12u, 33u), min(k0 + lane % 32u, 4u)), k0 + lane % 32u < 5u);
    loop {
      tile[(lane % 32u) * 9u + (lane / 32u) / 4u][(lane / 32u) % 4u] = left1_0;
      tile[(lane % 32u) * 9u + (lane / 32u + 4u) / 4u][(lane / 32u + 4u) % 4u] = left1_1;
      tile[(lane % 32u) * 9u + (lane / 32u + 8u) / 4u][(lane / 32u + 8u) % 4u] = left1_2;
      tile[(lane % 32u) * 9u + (lane / 32u + 12u) / 4u][(lane / 32u + 12u) % 4u] = left1_3;
      tile[(lane % 32u) * 9u + (lane / 32u) / 4u + 4u][(lane / 32u) % 4u] = right1_0;
      tile[(lane % 32u) * 9u + (lane / 32u + 4u) / 4u + 4u][(lane / 32u + 4u) % 4u] = right1_1;
      tile[(lane % 32u) * 9u + (lane / 32u + 8u) / 4u + 4u][(lane / 32u + 8u) % 4u] = right1_2;
      tile[(lane % 32u) * 9u + (lane / 32u + 12u) / 4u + 4u][(lane / 32u + 12u) % 4u] = right1_3;
      workgroupBarrier();
      {
        let l0 = tile[(part * 4u) * 9u + ty * 1u];
        let r0 = tile[(part * 4u) * 9u + tx + 4u];
        c0_0 = fma(vec4f(l0.x), r0, c0_0);
        c1_0 = fma(vec4f(l0.y), r0, c1_0);
        c2_0 = fma(vec4f(l0.z), r0, c2_0);
        c3_0 = fma(vec4f(l0.w), r0, c3_0);
      }
      {
        let l0 = tile[(part * 4u + 1u) * 9u + ty * 1u];
        let r0 = tile[(part * 4u + 1u) * 9u + tx + 4u];
        c0_0 = fma(vec4f(l0.x), r0, c0_0);
        c1_0 = fma(vec4f(l0.y), r0, c1_0);
        c2_0 = fma(vec4f(l0.z), r0, c2_0);
        c3_0 = fma(vec4f(l0.w), r0, c3_0);
      }
      {
        let l0 = tile[(part * 4u + 2u) * 9u + ty * 1u];
        let r0 = tile[(part * 4u + 2u) * 9u + tx + 4u];
        c0_0 = fma(vec4f(l0.x), r0, c0_0);
        c1_0 = fma(vec4f(l0.y), r0, c1_0);
        c2_0 = fma(vec4f(l0.z), r0, c2_0);
        c3_0 = fma(vec4f(l0.w), r0, c3_0);
      }
      {
        let l0 = tile[(part * 4u + 3u) * 9u + ty * 1u];
        let r0 = tile[(part * 4u + 3u) * 9u + tx + 4u];
        c0_0 = fma(vec4f(l0.x), r0, c0_0);
        c1_0 = fma(vec4f(l0.y), r0, c1_0);
        c2_0 = fma(vec4f(l0.z), r0, c2_0);
        c3_0 = fma(vec4f(l0.w), r0, c3_0);
      }
      workgroupBarrier();
      break;
    }
  }
  tile[part * 64u + (ty * 4u + 0u) * 4u + tx] = c0_0;
  tile[part * 64u + (ty * 4u + 1u) * 4u + tx] = c1_0;
  tile[part * 64u + (ty * 4u + 2u) * 4u + tx] = c2_0;
  tile[part * 64u + (ty * 4u + 3u) * 4u + tx] = c3_0;
  workgroupBarrier();
  if (lane < 64u) { finish(b, m0 + (lane) / 4u, n0 / 4u + (lane) % 4u, tile[lane] + tile[lane + 64u] + tile[lane + 128u] + tile[lane + 192u] + tile[lane + 256u] + tile[lane + 320u] + tile[lane + 384u] + tile[lane + 448u]); }
}
