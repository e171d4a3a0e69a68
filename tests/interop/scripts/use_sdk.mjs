// What both npm clients do with a server of ours; each step's result or error goes into one report, as in reporting.py.

export const report = {};
export const heard = [];
export const logs = [];
export const questions = [];
let wake = [];

export function hear(list, item) {
  list.push(item);
  for (const go of wake) go();
  wake = [];
}

export async function until(isSo) {
  while (!isSo()) await new Promise((resolve) => wake.push(resolve));
}

export const answers = {
  sample({ params }) {
    questions.push(["sampling", params]);
    return { role: "assistant", content: { type: "text", text: "42" }, model: "deep-thought", stopReason: "endTurn" };
  },
  elicit({ params }) {
    questions.push(["elicitation", params]);
    if (params.message.startsWith("Really")) return { action: "decline" };
    return { action: "accept", content: { name: "Ada", age: 36 } };
  },
  roots() {
    questions.push(["roots", null]);
    return { roots: [{ uri: "file:///tmp/project", name: "project" }] };
  },
};

async function pages(list, member) {
  const items = [];
  let cursor, count = 0;
  do {
    const page = await list(cursor === undefined ? undefined : { cursor });
    count += 1;
    items.push(...page[member]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return { pages: count, items };
}

// `call` calls a tool; `changes` hears of changes where the revision has its own way.
export async function use({ client, call, isError, isModern = false, changes }) {
  async function step(name, run) {
    try {
      const value = await run();
      report[name] = value ?? null;
    } catch (error) {
      report[name] = isError(error)
        ? { code: error.code, message: error.message, data: error.data ?? null }
        : { raised: error?.name ?? String(error), message: String(error?.message ?? error) };
    }
  }

  async function counted() {
    const progress = [];
    const onprogress = ({ progress: done, total, message }) => progress.push([done, total ?? null, message ?? null]);
    const result = await call("count", { to: 3 }, { onprogress });
    return { result, progress };
  }

  async function cancelled() {
    const abort = new AbortController();
    const ended = [];
    const hang = new Promise((resolve) => {
      const onprogress = () => resolve();
      call("hang", undefined, { onprogress, signal: abort.signal }).then(
        () => ended.push("answered"),
        (error) => String(error?.message ?? error).includes("caller cancelled") || ended.push(String(error)),
      );
    });
    await hang;
    abort.abort("caller cancelled");
    return { withdrawals: await call("withdrawals"), ended };
  }

  async function subscribed() {
    await client.subscribeResource({ uri: "watched://counter" });
    await call("touch");
    await call("grow");
    const wanted = ["resources/updated", "tools/list_changed", "prompts/list_changed", "resources/list_changed"];
    await until(() => wanted.every((name) => heard.some((item) => item.method === `notifications/${name}`)));
    await client.unsubscribeResource({ uri: "watched://counter" });
    const updates = heard.filter((item) => item.method === "notifications/resources/updated");
    await call("touch");
    await client.ping();
    const after = heard.filter((item) => item.method === "notifications/resources/updated");
    return { updates, after_unsubscribing: after.length - updates.length };
  }

  await step("tools", () => pages((params) => client.listTools(params), "tools"));
  await step("add", () => call("add", { a: 1, b: 2 }));
  await step("forecast", () => call("forecast", { city: "Kailash" }));
  await step("numbers", () => call("numbers", { upto: 3 }));
  await step("media", () => call("media"));
  await step("said", () => call("fail", { how: "said" }));
  await step("crashed", () => call("fail", { how: "crashed" }));
  await step("unknown_tool", () => call("no-such-tool"));
  await step("bad_arguments", () => call("add", { a: "one" }));
  await step("whoami", () => call("whoami"));
  await step("count", counted);

  await step("ask_user", () => call("ask_user"));
  await step("ask_model", () => call("ask_model"));
  await step("ask_roots", () => call("ask_roots"));
  await step("ask_all", () => call("ask_all"));

  await step("resources", () => pages((params) => client.listResources(params), "resources"));
  await step("templates", () => pages((params) => client.listResourceTemplates(params), "resourceTemplates"));
  await step("read_text", () => client.readResource({ uri: "text://hello" }));
  await step("read_blob", () => client.readResource({ uri: "blob://pixel" }));
  await step("read_template", () => client.readResource({ uri: "sum://40/2" }));
  await step("missing_resource", () => client.readResource({ uri: "text://missing" }));

  await step("prompts", () => pages((params) => client.listPrompts(params), "prompts"));
  await step("summarize", () => client.getPrompt({ name: "summarize", arguments: { text: "all" } }));
  await step("review", () => client.getPrompt({ name: "review", arguments: { code: "pass" } }));
  await step("unknown_prompt", () => client.getPrompt({ name: "no-such-prompt" }));
  await step("prompt_without_argument", () => client.getPrompt({ name: "summarize" }));

  const prompt = { type: "ref/prompt", name: "review" };
  const template = { type: "ref/resource", uri: "greet://{name}" };
  const language = { name: "language", value: "p" };
  await step("complete_prompt", () => client.complete({ ref: prompt, argument: language }));
  await step("complete_in_context", () =>
    client.complete({ ref: prompt, argument: language, context: { arguments: { code: "pass" } } }));
  await step("complete_template", () => client.complete({ ref: template, argument: { name: "name", value: "x" } }));

  if (!isModern) await step("set_level", () => client.setLoggingLevel("warning"));
  await step("speak", () => call("speak"));
  await step("logs", async () => {
    await until(() => logs.length >= 2);
    return [...logs];
  });
  await step("ping", () => client.ping());
  if (!isModern) await step("roots_changed", () => client.sendRootsListChanged());
  await step("cancel", cancelled);
  await step("changes", changes ?? subscribed);
  await step("tools_after", () => pages((params) => client.listTools(params), "tools"));
}

export function print() {
  report.questions = questions;
  report.heard = heard;
  process.stdout.write(JSON.stringify(report));
}
