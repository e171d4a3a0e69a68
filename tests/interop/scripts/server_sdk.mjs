// A server made with `McpServer` of the npm package `@modelcontextprotocol/sdk`, for our client to use over HTTP.

import { completable } from "@modelcontextprotocol/sdk/server/completable.js";
import { McpServer, ResourceTemplate } from "@modelcontextprotocol/sdk/server/mcp.js";
import {
  CreateMessageResultSchema, ElicitResultSchema, EmptyResultSchema, ListRootsResultSchema, SetLevelRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { z } from "zod";
import { serve } from "./web_serving.mjs";

const PIXEL = Buffer.from("\x89PNG\r\n\x1a\n-not-really", "latin1").toString("base64");
const SOUND = Buffer.from("RIFF-not-really").toString("base64");

const said = (text) => ({ content: [{ type: "text", text }] });

// One for all sessions: the call that is withdrawn and the one that asks may be of two.
let withdraw;
const withdrawal = new Promise((resolve) => (withdraw = resolve));
let release;
let released = new Promise((resolve) => (release = resolve));

function make() {
  const server = new McpServer(
    { name: "foreign", version: "9.8.7" },
    { capabilities: { logging: {}, completions: {} }, instructions: "Written by somebody else." },
  );

  server.registerTool(
    "add",
    {
      title: "Adder",
      description: "Add two numbers.",
      inputSchema: { a: z.number().int(), b: z.number().int() },
      annotations: { readOnlyHint: true },
    },
    ({ a, b }) => said(String(a + b)),
  );
  const forecast = { city: z.string(), degrees: z.number(), sunny: z.boolean() };
  server.registerTool("forecast", { inputSchema: { city: z.string() }, outputSchema: forecast }, ({ city }) => {
    const structuredContent = { city, degrees: 21.5, sunny: true };
    return { ...said(JSON.stringify(structuredContent)), structuredContent };
  });
  server.registerTool("media", {}, () => ({
    content: [
      { type: "text", text: "a text", annotations: { audience: ["user"], priority: 0.5 } },
      { type: "image", data: PIXEL, mimeType: "image/png" },
      { type: "audio", data: SOUND, mimeType: "audio/wav" },
      { type: "resource", resource: { uri: "text://inside", text: "inside", mimeType: "text/plain" } },
      { type: "resource_link", uri: "text://hello", name: "hello" },
    ],
  }));
  server.registerTool("fail", { inputSchema: { how: z.enum(["said", "crashed"]) } }, ({ how }) => {
    if (how === "said") return { ...said("this tool always fails"), isError: true };
    throw new TypeError("a crash");
  });

  const told = async (extra, progress, total, message) => {
    const progressToken = extra._meta?.progressToken;
    if (progressToken === undefined) return;
    const params = { progressToken, progress, total, message };
    await extra.sendNotification({ method: "notifications/progress", params });
  };
  server.registerTool("count", { inputSchema: { to: z.number().int() } }, async ({ to }, extra) => {
    for (let number = 1; number <= to; number += 1) await told(extra, number, to, `counted ${number}`);
    return said(`counted to ${to}`);
  });
  server.registerTool("hang", {}, async (extra) => {
    await told(extra, 1);
    await new Promise((resolve) => extra.signal.addEventListener("abort", resolve));
    withdraw();
    return said("unreachable");
  });
  server.registerTool("withdrawals", {}, async () => {
    await withdrawal;
    return said("withdrawn");
  });
  server.registerTool("interrupted", {}, async (extra) => {
    await told(extra, 1, 2, "before");
    await released;
    await told(extra, 2, 2, "after");
    return said("went on");
  });
  server.registerTool("release", {}, () => {
    release();
    released = new Promise((resolve) => (release = resolve));
    return said("released");
  });

  const requestedSchema = {
    type: "object",
    properties: { name: { type: "string" }, age: { type: "integer", default: 30, minimum: 0 } },
    required: ["name"],
  };
  const elicit = (extra) => {
    const params = { mode: "form", message: "Who are you?", requestedSchema };
    return extra.sendRequest({ method: "elicitation/create", params }, ElicitResultSchema);
  };
  const sample = (extra) => {
    const messages = [{ role: "user", content: { type: "text", text: "What is the answer?" } }];
    const params = { messages, maxTokens: 17, systemPrompt: "Be brief." };
    return extra.sendRequest({ method: "sampling/createMessage", params }, CreateMessageResultSchema);
  };
  const roots = (extra) => extra.sendRequest({ method: "roots/list" }, ListRootsResultSchema);
  server.registerTool("ask_user", {}, async (extra) => {
    const { action, content } = await elicit(extra);
    return said(action === "accept" ? `${content.name} ${content.age}` : action);
  });
  server.registerTool("ask_model", {}, async (extra) => {
    const { model, content } = await sample(extra);
    return said(`${model} says ${content.text}`);
  });
  server.registerTool("ask_roots", {}, async (extra) => {
    return said((await roots(extra)).roots.map((root) => root.uri).join(" "));
  });
  server.registerTool("ask_all", {}, async (extra) => {
    const [user, model, found] = await Promise.all([elicit(extra), sample(extra), roots(extra)]);
    return said(`${user.action} ${model.model} ${found.roots.length}`);
  });
  server.registerTool("check_client", {}, async (extra) => {
    await extra.sendRequest({ method: "ping" }, EmptyResultSchema);
    return said("alive");
  });

  server.registerTool("speak", {}, async (extra) => {
    // The levels of Server are those of its own sending, which goes to whatever stream is open; these go with the call.
    const levels = ["debug", "info", "warning", "error"];
    const items = [["a detail"], [{ what: "news" }], ["careful", "foreign.speak"], ["trouble"]];
    const from = levels.indexOf(level);
    for (const [at, [data, logger]] of items.entries()) {
      if (at < from) continue;
      await extra.sendNotification({ method: "notifications/message", params: { level: levels[at], data, logger } });
    }
    return said("spoken");
  });
  let level = "debug";
  server.server.setRequestHandler(SetLevelRequestSchema, (request) => {
    level = request.params.level;
    return {};
  });

  const hello = { title: "Hello", mimeType: "text/plain" };
  server.registerResource("hello", "text://hello", hello, () => ({
    contents: [{ uri: "text://hello", mimeType: "text/plain", text: "hello" }],
  }));
  server.registerResource("pixel", "blob://pixel", { mimeType: "image/png" }, () => ({
    contents: [{ uri: "blob://pixel", mimeType: "image/png", blob: PIXEL }],
  }));
  server.registerResource("watched", "watched://counter", { mimeType: "application/json" }, () => ({
    contents: [{ uri: "watched://counter", mimeType: "application/json", text: '{"counter": 0}' }],
  }));
  const complete = { name: (value) => [0, 1, 2].map((number) => `${value}${number}`) };
  const greeting = new ResourceTemplate("greet://{name}", { list: undefined, complete });
  server.registerResource("greet", greeting, {}, (uri, { name }) => ({
    contents: [{ uri: uri.href, text: `hello ${name}` }],
  }));

  server.registerPrompt("summarize", { argsSchema: { text: z.string() } }, ({ text }) => ({
    messages: [{ role: "user", content: { type: "text", text: `Summarize: ${text}` } }],
  }));
  const languages = (value, context) => {
    const known = context?.arguments?.code === undefined ? ["perl", "python", "ruby"] : ["python-of-the-code"];
    return known.filter((name) => name.startsWith(value));
  };
  const language = completable(z.string().optional(), languages);
  server.registerPrompt("review", { title: "Review", argsSchema: { code: z.string(), language } }, ({ code }) => ({
    messages: [
      { role: "user", content: { type: "text", text: `Review this python: ${code}` } },
      { role: "user", content: { type: "image", data: PIXEL, mimeType: "image/png" } },
      { role: "assistant", content: { type: "text", text: "Gladly." } },
    ],
  }));
  return server;
}

serve(make);
