// node read_tfjs.js TF.MIN.JS JOB.json
// Runs a graph model by TensorFlow.js itself, on its plain CPU backend, and writes what it answers as raw float32.
const fs = require('fs');
const tf = require(process.argv[2]);

const bytes = (file) => {
  const data = fs.readFileSync(file);
  return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
};

(async () => {
  const job = JSON.parse(fs.readFileSync(process.argv[3]));
  await tf.setBackend('cpu');
  const { modelTopology, weightsManifest, format, signature } = JSON.parse(fs.readFileSync(job.model));
  const [{ weights: weightSpecs }] = weightsManifest;
  const weightData = bytes(job.weights);
  const net = await tf.loadGraphModel(tf.io.fromMemory({ modelTopology, weightSpecs, weightData, format, signature }));
  const image = tf.tensor(new Float32Array(bytes(job.image)), job.shape, job.dtype);
  const found = [].concat(net.execute({ [job.input]: image }, job.outputs)); // of one output it is no list
  const shapes = job.outputs.map((name, k) => {
    fs.writeFileSync(`${job.out}${k}`, new Uint8Array(found[k].dataSync().buffer.slice(0)));
    return found[k].shape;
  });
  fs.writeFileSync(`${job.out}.json`, JSON.stringify(shapes));
})();
