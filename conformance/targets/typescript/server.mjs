// What the judge asks a server for, written with `@modelcontextprotocol/sdk`: a model for a server of your own.
//
//     node server.mjs                  # on the standard streams
//     node server.mjs --port 3001      # Streamable HTTP at http://127.0.0.1:3001/mcp

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { completable } from "@modelcontextprotocol/sdk/server/completable.js";
import { McpServer, ResourceTemplate } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { SetLevelRequestSchema, SubscribeRequestSchema, UnsubscribeRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { z } from "zod";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA==";
const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

const text = (value) => ({ type: "text", text: value });
const said = (value) => ({ content: [text(value)] });
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const embedded = (uri, value, mimeType) => ({ type: "resource", resource: { uri, text: value, mimeType } });

function make() {
  const capabilities = { logging: {}, completions: {}, resources: { subscribe: true, listChanged: true } };
  const server = new McpServer(
    { name: "judged", version: "1.0.0" },
    { capabilities, instructions: "Serves what the judge asks for." },
  );
  let from = 0;
  const watched = new Set();

  // What a call reports goes with the call, so that over HTTP it is on the stream of its answer.
  const log = async (extra, level, data) => {
    if (LEVELS.indexOf(level) < from) return;
    await extra.sendNotification({ method: "notifications/message", params: { level, data } });
  };

  const tool = (name, description, run, more = {}) => server.registerTool(name, { description, ...more }, run);

  tool("test_simple_text", "Return text.", () => said("This is a simple text response for testing."));
  tool("test_image_content", "Return an image.", () => ({
    content: [{ type: "image", data: PNG, mimeType: "image/png" }],
  }));
  tool("test_audio_content", "Return a sound.", () => ({
    content: [{ type: "audio", data: WAV, mimeType: "audio/wav" }],
  }));
  tool("test_embedded_resource", "Return a resource.", () => ({
    content: [embedded("test://embedded-resource", "This is an embedded resource content.", "text/plain")],
  }));
  tool("test_multiple_content_types", "Return text, an image and a resource.", () => ({
    content: [
      text("Multiple content types test:"),
      { type: "image", data: PNG, mimeType: "image/png" },
      embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ],
  }));
  tool("test_error_handling", "Fail.", () => {
    throw new Error("This tool intentionally returns an error for testing");
  });
  tool("test_tool_with_logging", "Log three messages on the way.", async (extra) => {
    for (const message of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
      await log(extra, "info", message);
      await sleep(50);
    }
    return said("Tool with logging executed successfully");
  });
  tool("test_all_levels", "Log once at each of four levels.", async (extra) => {
    for (const level of ["debug", "info", "warning", "error"]) await log(extra, level, level);
    return said("logged");
  });
  tool("test_tool_with_progress", "Report progress.", async (extra) => {
    const progressToken = extra._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      if (progressToken === undefined) break;
      const params = { progressToken, progress, total: 100, message: `Completed ${progress} of 100` };
      await extra.sendNotification({ method: "notifications/progress", params });
      await sleep(20);
    }
    return said("Tool with progress executed successfully");
  });
  tool("test_reconnection", "End the event stream of the call.", async (extra) => {
    extra.closeSSEStream?.();
    await sleep(100);
    return said("Reconnection test completed successfully.");
  });
  tool("test_wait", "Wait, then answer.", async ({ seconds }, extra) => {
    await Promise.race([sleep(seconds * 1000), new Promise((ended) => extra.signal.addEventListener("abort", ended))]);
    return said("waited");
  }, { inputSchema: { seconds: z.number().default(1) } });
  tool("test_validated", "Take a whole number.", ({ count }) => said(`counted to ${count}`), {
    inputSchema: { count: z.number().int() },
  });
  tool("test_echo", "Return what is given.", ({ text: given }) => said(given), { inputSchema: { text: z.string() } });
  tool("test_structured", "Return an object that the output schema describes.", () => {
    const structuredContent = { temperature: 21.5, sky: "clear" };
    return { ...said(JSON.stringify(structuredContent)), structuredContent };
  }, { outputSchema: { temperature: z.number(), sky: z.string() } });

  tool("test_sampling", "Ask the client's model.", async ({ prompt }, extra) => {
    const params = { messages: [{ role: "user", content: text(prompt) }], maxTokens: 100 };
    const answer = await server.server.createMessage(params, { relatedRequestId: extra.requestId });
    return said(`LLM response: ${answer.content.text}`);
  }, { inputSchema: { prompt: z.string() } });

  const show = async (extra, message, properties, required = []) => {
    const params = { mode: "form", message, requestedSchema: { type: "object", properties, required } };
    const answer = await server.server.elicitInput(params, { relatedRequestId: extra.requestId });
    return said(`User response: ${answer.action} ${JSON.stringify(answer.content)}`);
  };
  tool("test_elicitation", "Ask the user.", ({ message }, extra) => {
    const properties = { username: { type: "string" }, email: { type: "string" } };
    return show(extra, message, properties, ["username", "email"]);
  }, { inputSchema: { message: z.string() } });
  tool("test_elicitation_sep1034_defaults", "Show a form that is filled in already.", (extra) =>
    show(extra, "Please check what is filled in", {
      name: { type: "string", default: "John Doe" },
      age: { type: "integer", default: 30 },
      score: { type: "number", default: 95.5 },
      status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
      verified: { type: "boolean", default: true },
    }));
  const titled = (prefix) => [1, 2, 3].map((number) => ({ const: `${prefix}${number}`, title: `Title ${number}` }));
  const options = ["option1", "option2", "option3"];
  tool("test_elicitation_sep1330_enums", "Show a form with every kind of choice.", (extra) =>
    show(extra, "Please choose", {
      untitledSingle: { type: "string", enum: options },
      titledSingle: { type: "string", oneOf: titled("value") },
      legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["Option 1", "Option 2", "Option 3"] },
      untitledMulti: { type: "array", items: { type: "string", enum: options } },
      titledMulti: { type: "array", items: { anyOf: titled("value") } },
    }));

  tool("test_trigger_resource_update", "Say that two resources changed.", async () => {
    for (const uri of ["test://watched-resource", "test://static-text"]) {
      if (watched.has(uri)) await server.server.sendResourceUpdated({ uri });
    }
    return said("both changed");
  });
  const changing = tool("test_changing_tool", "Go away and come back.", () => said("still here"));
  tool("test_trigger_tool_change", "Change the list of tools, and change it back.", () => {
    changing.disable();
    changing.enable();
    return said("the list of tools changed");
  });
  const comes = server.registerPrompt("test_changing_prompt", { description: "Go away and come back." }, () => ({
    messages: [{ role: "user", content: text("Say that you are still here.") }],
  }));
  tool("test_trigger_prompt_change", "Change the list of prompts, and change it back.", () => {
    comes.disable();
    comes.enable();
    return said("the list of prompts changed");
  });

  const resource = (name, uri, mimeType, contents) =>
    server.registerResource(name, uri, { mimeType, description: `The resource ${name}.` }, () => ({
      contents: [{ uri, mimeType, ...contents }],
    }));
  resource("static-text", "test://static-text", "text/plain", { text: "This is the content of the static text resource." });
  resource("static-binary", "test://static-binary", "image/png", { blob: PNG });
  resource("watched-resource", "test://watched-resource", "text/plain", { text: "Watched." });
  const template = new ResourceTemplate("test://template/{id}/data", { list: undefined });
  server.registerResource("template-data", template, { mimeType: "application/json" }, (uri, { id }) => ({
    contents: [{ uri: uri.href, mimeType: "application/json", text: JSON.stringify({ id, data: `Data for ID: ${id}` }) }],
  }));

  const message = (content) => ({ role: "user", content });
  const prompt = (name, description, run, argsSchema) =>
    server.registerPrompt(name, { description, ...(argsSchema && { argsSchema }) }, run);
  prompt("test_simple_prompt", "A prompt without arguments.", () => ({
    messages: [message(text("This is a simple prompt for testing."))],
  }));
  const words = ["testValue1", "testValue2", "other"];
  const first = completable(z.string(), (typed) => words.filter((word) => word.startsWith(typed)));
  prompt("test_prompt_with_arguments", "A prompt with two arguments.", ({ arg1, arg2 }) => ({
    messages: [message(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))],
  }), { arg1: first, arg2: z.string() });
  prompt("test_prompt_with_embedded_resource", "A prompt with a resource in it.", ({ resourceUri }) => ({
    messages: [
      message(embedded(resourceUri, "Embedded resource content for testing.", "text/plain")),
      message(text("Please process the embedded resource above.")),
    ],
  }), { resourceUri: z.string() });
  prompt("test_prompt_with_image", "A prompt with an image in it.", () => ({
    messages: [
      message({ type: "image", data: PNG, mimeType: "image/png" }),
      message(text("Please analyze the image above.")),
    ],
  }));

  server.server.setRequestHandler(SetLevelRequestSchema, ({ params }) => {
    from = LEVELS.indexOf(params.level);
    return {};
  });
  server.server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
    watched.add(params.uri);
    return {};
  });
  server.server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => {
    watched.delete(params.uri);
    return {};
  });
  return server;
}

class Remembered {
  #events = [];

  async storeEvent(stream, message) {
    this.#events.push([stream, message]);
    return String(this.#events.length);
  }

  async getStreamIdForEventId(id) {
    return this.#events[Number(id) - 1]?.[0];
  }

  async replayEventsAfter(last, { send }) {
    const stream = this.#events[Number(last) - 1][0];
    for (let at = Number(last); at < this.#events.length; at += 1) {
      const [other, message] = this.#events[at];
      if (other === stream && message.jsonrpc) await send(String(at + 1), message);
    }
    return stream;
  }
}

function serve(port) {
  const sessions = new Map();
  const hosts = [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`];
  const open = async () => {
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => sessions.set(id, transport),
      onsessionclosed: (id) => sessions.delete(id),
      eventStore: new Remembered(),
      retryInterval: 10,
      enableDnsRebindingProtection: true,
      allowedHosts: hosts,
      allowedOrigins: hosts.map((host) => `http://${host}`),
    });
    await make().connect(transport);
    return transport;
  };
  const server = createServer(async (request, response) => {
    if (request.url !== "/mcp") return response.writeHead(404).end();
    const id = request.headers["mcp-session-id"];
    if (id !== undefined && !sessions.has(id)) return response.writeHead(404).end("no such session");
    await (sessions.get(id) ?? (await open())).handleRequest(request, response);
  });
  server.listen(port, "127.0.0.1");
}

const at = process.argv.indexOf("--port");
if (at === -1) await make().connect(new StdioServerTransport());
else serve(Number(process.argv[at + 1]));
