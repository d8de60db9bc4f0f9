// Reads and writes WAV files of 16-bit PCM and 32-bit floats: as much as the phones of the tests use.
import { readFileSync, writeFileSync } from "node:fs";

/**
 * Reads one channel. A recorder that was killed leaves sizes of 0 or too large in the headers: then the data goes on
 * to the end of the file.
 * @returns {{samples: Float32Array, rate: number}}
 */
export function readWav(path, channel = 0) {
  const bytes = readFileSync(path);
  if (bytes.length < 44 || bytes.toString("latin1", 0, 4) !== "RIFF") throw new Error(`${path} is no WAV file`);
  let format = null;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const name = bytes.toString("latin1", at, at + 4);
    const size = bytes.readUInt32LE(at + 4);
    const body = at + 8;
    if (name === "fmt ") {
      format = {
        tag: bytes.readUInt16LE(body), channels: bytes.readUInt16LE(body + 2),
        rate: bytes.readUInt32LE(body + 4), bits: bytes.readUInt16LE(body + 14),
      };
    } else if (name === "data") {
      if (!format) throw new Error(`${path}: samples before their format`);
      const end = size === 0 || body + size > bytes.length ? bytes.length : body + size;
      return { samples: decode(bytes.subarray(body, end), format, channel, path), rate: format.rate };
    }
    at = body + size + (size & 1);
  }
  throw new Error(`${path} holds no samples`);
}

function decode(data, { tag, channels, bits }, channel, path) {
  const float = bits === 32 && tag !== 1;
  if (!float && bits !== 16) throw new Error(`${path}: ${bits} bits a sample are not known here`);
  const frame = channels * (bits / 8);
  const samples = new Float32Array(Math.floor(data.length / frame));
  for (let i = 0; i < samples.length; i++) {
    const at = i * frame + channel * (bits / 8);
    samples[i] = float ? data.readFloatLE(at) : data.readInt16LE(at) / 32768;
  }
  return samples;
}

/** Writes one channel of 16 bits. */
export function writeWav(path, samples, rate) {
  const bytes = Buffer.alloc(44 + samples.length * 2);
  bytes.write("RIFF", 0, "latin1");
  bytes.writeUInt32LE(36 + samples.length * 2, 4);
  bytes.write("WAVEfmt ", 8, "latin1");
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(rate, 24);
  bytes.writeUInt32LE(rate * 2, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write("data", 36, "latin1");
  bytes.writeUInt32LE(samples.length * 2, 40);
  samples.forEach((s, i) => bytes.writeInt16LE(Math.max(-32768, Math.min(32767, Math.round(s * 32768))), 44 + i * 2));
  writeFileSync(path, bytes);
}

/** A steady tone; `db`: its RMS in dBFS, as `measureTone` reports it. */
export function tone(hz, seconds, rate, db) {
  const amplitude = Math.SQRT2 * 10 ** (db / 20);
  return Float32Array.from({ length: Math.round(seconds * rate) }, (_, i) => amplitude * Math.sin((2 * Math.PI * hz * i) / rate));
}
