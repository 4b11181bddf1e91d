/** Sine and cosine in WGSL. @module */

/**
 * Sine and cosine to a few roundings: builtin ones may be off by 2⁻¹¹ (WGSL, 15.7.4), too coarse for rotations. Quarter
 * turns are taken away first, π/2 in three parts (Cody and Waite); then Taylor's polynomials on ±π/4.
 */
export const TURN: string = `fn quarter(x: f32) -> vec3f {
  let k = round(x * 0.63661975f);
  let r = ((x - k * 1.5703125f) - k * 4.8375129e-4f) - k * 7.54979e-8f;
  let q = r * r;
  let s = r - r * q * (0.16666667f - q * (8.3333333e-3f - q * (1.9841270e-4f - q * 2.7557319e-6f)));
  let c = 1.0f - q * (0.5f - q * (4.1666667e-2f - q * (1.3888889e-3f - q * (2.4801587e-5f - q * 2.7557319e-7f))));
  return vec3f(s, c, k - 4.0f * floor(k * 0.25f));
}
fn sine(x: f32) -> f32 {
  let t = quarter(x);
  let v = select(t.x, t.y, t.z == 1.0f || t.z == 3.0f);
  return select(v, -v, t.z >= 2.0f);
}
fn cosine(x: f32) -> f32 {
  let t = quarter(x);
  let v = select(t.y, t.x, t.z == 1.0f || t.z == 3.0f);
  return select(v, -v, t.z == 1.0f || t.z == 2.0f);
}`;
