// Runs end-to-end tests one after another: each is a sentence and prints "ok" or "not ok" with its seconds, then one
// line of JSON with what it measured.
const tests = [];

/** `limitS`: when a test is over whatever it waits for. */
export function test(name, body, limitS = 90) {
  tests.push({ name, body, limitS });
}

/** What a test is given: things to undo, things to tell. */
class Context {
  undo = [];
  measured = {};
  notes = [];
  after(step) {
    this.undo.push(step);
  }
  measure(values) {
    Object.assign(this.measured, values);
  }
  note(text) {
    this.notes.push(text);
  }
}

export const list = () => tests.map(({ name }) => name);

export async function run(filter, world) {
  let passed = 0;
  let failed = 0;
  const failures = [];
  for (const { name, body, limitS } of tests.filter(({ name }) => filter(name))) {
    const context = new Context();
    context.world = world;
    const begun = Date.now();
    let wrong = null;
    let timer;
    try {
      const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not done within ${limitS} s`)), limitS * 1000); });
      await Promise.race([body(context), late]);
    } catch (error) {
      wrong = error;
    }
    clearTimeout(timer);
    for (const step of context.undo.reverse()) {
      try {
        await step();
      } catch (error) {
        console.log(`# while cleaning up: ${error.message}`);
      }
    }
    const seconds = ((Date.now() - begun) / 1000).toFixed(1);
    if (wrong) failed++;
    else passed++;
    console.log(`${wrong ? "not ok" : "ok"} - ${name} (${seconds} s)`);
    for (const note of context.notes) console.log(`# ${note}`);
    if (wrong) {
      failures.push(name);
      console.log(`# ${wrong.message.split("\n").join("\n# ")}`);
      if (process.env.E2E_STACKS) console.log(wrong.stack);
    }
    console.log(JSON.stringify({ test: name, ok: !wrong, ...context.measured }));
  }
  return { passed, failed, failures };
}

export function check(holds, sentence) {
  if (!holds) throw new Error(sentence);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks until the answer is not false, null or undefined. */
export async function until(sentence, seconds, ask) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await ask();
    if (answer !== false && answer !== null && answer !== undefined) return answer;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${sentence}`);
    await sleep(30);
  }
}
