// A server made with the npm package `@modelcontextprotocol/server`, the second line of that SDK, over Streamable HTTP.

import { createServer } from "node:http";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";

function make() {
  const server = new McpServer({ name: "foreign", version: "9.8.7" }, { instructions: "Written by somebody else." });
  const numbers = z.object({ a: z.number().int(), b: z.number().int() });
  server.registerTool("add", { description: "Add two numbers.", inputSchema: numbers }, ({ a, b }) => ({
    content: [{ type: "text", text: String(a + b) }],
  }));
  const forecast = z.object({ city: z.string(), degrees: z.number(), sunny: z.boolean() });
  const city = z.object({ city: z.string() });
  server.registerTool("forecast", { inputSchema: city, outputSchema: forecast }, (given) => {
    const structuredContent = { ...given, degrees: 21.5, sunny: true };
    return { content: [{ type: "text", text: JSON.stringify(structuredContent) }], structuredContent };
  });
  server.registerTool("fail", {}, () => ({ content: [{ type: "text", text: "this tool always fails" }], isError: true }));
  server.registerResource("hello", "text://hello", { mimeType: "text/plain" }, () => ({
    contents: [{ uri: "text://hello", mimeType: "text/plain", text: "hello" }],
  }));
  server.registerPrompt("summarize", { argsSchema: z.object({ text: z.string() }) }, ({ text }) => ({
    messages: [{ role: "user", content: { type: "text", text: `Summarize: ${text}` } }],
  }));
  return server;
}

const handler = createMcpHandler(make);

async function answer(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = chunks.length ? Buffer.concat(chunks) : undefined;
  const { method, headers, url } = request;
  const answered = await handler.fetch(new Request(new URL(url, `http://${headers.host}`), { method, headers, body }));
  response.writeHead(answered.status, Object.fromEntries(answered.headers));
  if (answered.body) for await (const chunk of answered.body) response.write(chunk);
  response.end();
}

const server = createServer(answer);
server.listen(0, "127.0.0.1", () => console.error(`listening ${server.address().port}`));
