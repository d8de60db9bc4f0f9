// Hands every block of sound that it hears to the page, silence included.
class Recorder extends AudioWorkletProcessor {
  process([input]) {
    const heard = input && input[0] ? input[0].slice() : new Float32Array(128);
    this.port.postMessage(heard, [heard.buffer]);
    return true;
  }
}
registerProcessor("recorder", Recorder);
