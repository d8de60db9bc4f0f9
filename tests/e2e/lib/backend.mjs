// An application's backend: a real HTTP server that keeps every hook, checks its signatures, and answers as a test says.
import { execFile, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { sleep, until } from "./runner.mjs";

/** Lets the server say nothing at all until it is closed. */
export const SILENCE = Symbol("silence");

export class Backend {
  /** `port`: the one of a backend before, for one that comes back. */
  static async start({ secret = "", port = 0 } = {}) {
    const backend = new Backend();
    backend.secret = secret;
    backend.server = createServer((request, response) => backend.serve(request, response));
    await new Promise((resolve, reject) => backend.server.once("error", reject).listen(port, "127.0.0.1", resolve));
    backend.port = backend.server.address().port;
    return backend;
  }

  hooks = [];
  forged = [];
  /** By method: what to answer, or a function of the body that says. A number is a status, an object a 200's body. */
  answers = {};

  get url() {
    return `http://127.0.0.1:${this.port}/hooks`;
  }

  async serve(request, response) {
    let text = "";
    for await (const chunk of request) text += chunk;
    const method = request.url.split("/").pop();
    this.check(method, request, text);
    const body = JSON.parse(text);
    this.hooks.push({ method, body, at: Date.now(), headers: request.headers });
    const said = this.answers[method];
    const answer = (typeof said === "function" ? await said(body) : said) ?? {};
    if (answer === SILENCE) return;
    const { status, json } = typeof answer === "number" ? { status: answer, json: null } : answer.status && answer.json !== undefined ? answer : { status: 200, json: answer };
    response.writeHead(status, { "content-type": "application/json;charset=UTF-8" }).end(json === null ? "" : JSON.stringify(json));
  }

  check(method, request, text) {
    const { headers } = request;
    const hmac = (hash, what) => createHmac(hash, this.secret).update(what).digest("hex");
    const wrong = [
      request.method !== "POST" && `it is a ${request.method}`,
      headers.accept !== "application/json, application/*+json" && `Accept: ${headers.accept}`,
      headers["content-type"] !== "application/json;charset=UTF-8" && `Content-Type: ${headers["content-type"]}`,
      this.secret && headers.authorization !== `WCS ${hmac("md5", text)}` && "the signature of WCS is wrong",
      this.secret && headers["x-trunkgate-signature"] !== `sha256=${hmac("sha256", `${headers["x-trunkgate-timestamp"]}.${text}`)}` && "our signature is wrong",
      this.secret && Math.abs(Date.now() / 1000 - Number(headers["x-trunkgate-timestamp"])) > 60 && "the time stamp is wrong",
    ].filter(Boolean);
    if (wrong.length) this.forged.push(`${method}: ${wrong.join(", ")}`);
  }

  /** The bodies of one hook, in order. */
  of(method) {
    return this.hooks.filter((hook) => hook.method === method).map((hook) => hook.body);
  }

  /** The first hook of that method whose body is as wanted. */
  expect(method, is = () => true, seconds = 10) {
    const told = () => this.hooks.map((hook) => `${hook.method}${hook.body.status ? ` ${hook.body.status}` : ""}`).join(", ") || "nothing";
    return until(`the backend is told ${method}`, seconds, () => this.of(method).find(is)).catch((error) => {
      throw new Error(`${error.message}; it was told ${told()}`);
    });
  }

  async close() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** Runs one of the gateway's commands for applications on the data of `gateway`. */
export function command(gateway, ...words) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TRUNKGATE_")));
  const place = ["--set", `data_dir=${JSON.stringify(join(gateway.folder, "data"))}`];
  return new Promise((resolve, reject) => {
    execFile(process.env.TRUNKGATE_BIN, [...words, ...place], { env }, (error, stdout, stderr) => {
      if (error) reject(new Error(`trunkgate ${words.join(" ")}: ${stderr.trim() || error.message}`));
      else resolve(stdout);
    });
  });
}

/** The same, and waits until the running gateway has taken it up. */
export async function change(gateway, ...words) {
  const taken = () => gateway.lines.filter((line) => line.includes("applications: ")).length;
  const before = taken();
  const told = await command(gateway, ...words);
  await until("the gateway takes the applications up", 5, () => taken() > before || null);
  return told;
}

/** The example that comes with the program. */
export class ExampleBackend {
  static async start(...args) {
    const example = new ExampleBackend();
    const script = fileURLToPath(new URL("../../../deploy/examples/backend.py", import.meta.url));
    example.child = spawn("python3", [script, "--listen", "127.0.0.1:0", ...args], { stdio: ["ignore", "pipe", "inherit"] });
    example.gone = new Promise((resolve) => example.child.on("exit", resolve).on("error", resolve));
    createInterface({ input: example.child.stdout }).on("line", (line) => example.lines.push(line));
    await until("the example listens", 10, () => example.lines.length || null);
    example.url = example.lines[0].replace("listening ", "");
    return example;
  }
  lines = [];

  async stop() {
    this.child.kill();
    await Promise.race([this.gone, sleep(3000)]);
  }
}
