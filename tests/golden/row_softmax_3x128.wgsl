// row_softmax_3x128
@group(0) @binding(0) var<storage, read> s0: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> s1: array<vec4<f32>>;
var<workgroup> parts_f32: array<f32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let unit = group.x;
  let row = min(unit * 2u + lane / 32u, 2u);
  let at = lane % 32u;
  var part0 = (-3.4028234663852886e+38f);
  {
    let r = at;
    let x1 = s0[(r + row * 32u)];
    part0 = max(part0, (max(max(max(x1.x, x1.y), x1.z), x1.w)));
  }
  parts_f32[lane] = part0;
  workgroupBarrier();
  if (at < 16u) { parts_f32[lane] = max(parts_f32[lane], parts_f32[lane + 16u]); }
  workgroupBarrier();
  if (at < 8u) { parts_f32[lane] = max(parts_f32[lane], parts_f32[lane + 8u]); }
  workgroupBarrier();
  if (at < 4u) { parts_f32[lane] = max(parts_f32[lane], parts_f32[lane + 4u]); }
  workgroupBarrier();
  if (at < 2u) { parts_f32[lane] = max(parts_f32[lane], parts_f32[lane + 2u]); }
  workgroupBarrier();
  if (at < 1u) { parts_f32[lane] = max(parts_f32[lane], parts_f32[lane + 1u]); }
  workgroupBarrier();
  let acc2 = parts_f32[lane - at * 1u];
  workgroupBarrier();
  var part3 = 0.0f;
  {
    let r = at;
    let x4 = s0[(r + row * 32u)];
    part3 = part3 + (exp((x4.x - acc2)) + exp((x4.y - acc2)) + exp((x4.z - acc2)) + exp((x4.w - acc2)));
  }
  parts_f32[lane] = part3;
  workgroupBarrier();
  if (at < 16u) { parts_f32[lane] = parts_f32[lane] + parts_f32[lane + 16u]; }
  workgroupBarrier();
  if (at < 8u) { parts_f32[lane] = parts_f32[lane] + parts_f32[lane + 8u]; }
  workgroupBarrier();
  if (at < 4u) { parts_f32[lane] = parts_f32[lane] + parts_f32[lane + 4u]; }
  workgroupBarrier();
  if (at < 2u) { parts_f32[lane] = parts_f32[lane] + parts_f32[lane + 2u]; }
  workgroupBarrier();
  if (at < 1u) { parts_f32[lane] = parts_f32[lane] + parts_f32[lane + 1u]; }
  workgroupBarrier();
  let acc5 = parts_f32[lane - at * 1u];
  workgroupBarrier();
  if (unit * 2u + lane / 32u < 3u) {
    {
      let e = at;
      let x6 = s0[(e + row * 32u)];
      s1[(e + row * 32u)] = vec4<f32>((exp((x6.x - acc2)) / acc5), (exp((x6.y - acc2)) / acc5), (exp((x6.z - acc2)) / acc5), (exp((x6.w - acc2)) / acc5));
    }
  }
}
