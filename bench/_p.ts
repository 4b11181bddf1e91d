import * as tf from "npm:@tensorflow/tfjs-core@4.22.0";
import * as wasm from "npm:@tensorflow/tfjs-backend-wasm@4.22.0";
console.log(Object.keys(wasm), await tf.env().getAsync("WASM_HAS_SIMD_SUPPORT"), await tf.env().getAsync("WASM_HAS_MULTITHREAD_SUPPORT"), tf.env().get("IS_NODE"), tf.env().get("IS_BROWSER"));
console.log(import.meta.resolve("npm:@tensorflow/tfjs-backend-wasm@4.22.0"));
try { console.log(await tf.setBackend("wasm"), tf.getBackend(), wasm.getThreadsCount?.()); } catch(e) { console.log(e); }
for (const n of [256,512,1024]) { const a=tf.randomUniform([n,n]), b=tf.randomUniform([n,n]);
 for (let i=0;i<20;i++) { const c = tf.matMul(a,b); c.dataSync(); c.dispose(); }
 const ts=[]; for (let i=0;i<20;i++) { const t=performance.now(); const c = tf.matMul(a,b); c.dataSync(); c.dispose(); ts.push(performance.now()-t);} ts.sort((a,b)=>a-b);
 console.log(n, 2*n**3/ts[10]!/1e6);
}
