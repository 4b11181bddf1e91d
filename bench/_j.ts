import * as jax from "npm:@jax-js/jax@0.1.25";
console.log(Object.keys(jax).join(" "));
const { init, numpy: np, defaultDevice } = jax as any;
const devs = await init("wasm"); console.log(devs); defaultDevice("wasm");
for (const n of [256,512,1024]) { 
 const a = np.array(Float32Array.from({length:n*n},()=>Math.random()-.5)).reshape([n,n]); const b = np.array(Float32Array.from({length:n*n},()=>Math.random()-.5)).reshape([n,n]);
 const f = async () => { const c = np.matmul(a.ref,b.ref); await c.blockUntilReady(); c.dispose(); };
 for (let i=0;i<8;i++) await f();
 const ts:number[]=[]; for (let i=0;i<10;i++) { const t=performance.now(); await f(); ts.push(performance.now()-t);} ts.sort((a,b)=>a-b);
 console.log(n, 2*n**3/ts[5]!/1e6, ts[0]);
}
