// A PNG as baresip's snapshot module writes it: 8 bits, RGB or RGBA, not interlaced. Its size and its mean colour.
import { inflateSync } from "node:zlib";

export function readPng(png) {
  const chunks = [];
  let head;
  for (let at = 8; at + 12 <= png.length; ) {
    const length = png.readUInt32BE(at);
    const type = png.toString("latin1", at + 4, at + 8);
    const data = png.subarray(at + 8, at + 8 + length);
    if (type === "IHDR") head = { width: data.readUInt32BE(0), height: data.readUInt32BE(4), bits: data[8], kind: data[9], interlaced: data[12] };
    if (type === "IDAT") chunks.push(data);
    at += 12 + length;
  }
  const channels = { 2: 3, 6: 4 }[head?.kind];
  if (!channels || head.bits !== 8 || head.interlaced) throw new Error("a PNG of another kind than RGB of 8 bits");
  const { width, height } = head;
  const stride = width * channels;
  const raw = inflateSync(Buffer.concat(chunks));
  const pixels = new Uint8Array(height * stride);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)];
    for (let x = 0; x < stride; x++) {
      const left = x >= channels ? pixels[y * stride + x - channels] : 0;
      const up = y ? pixels[(y - 1) * stride + x] : 0;
      const corner = y && x >= channels ? pixels[(y - 1) * stride + x - channels] : 0;
      const straight = left + up - corner;
      const [a, b, c] = [left, up, corner].map((v) => Math.abs(straight - v));
      const paeth = a <= b && a <= c ? left : b <= c ? up : corner;
      const guess = [0, left, up, (left + up) >> 1, paeth][filter] ?? 0;
      pixels[y * stride + x] = raw[y * (stride + 1) + 1 + x] + guess;
    }
  }
  const colour = [0, 0, 0];
  for (let i = 0; i < pixels.length; i += channels) for (let c = 0; c < 3; c++) colour[c] += pixels[i + c];
  return { width, height, colour: colour.map((sum) => Math.round(sum / (width * height))) };
}
