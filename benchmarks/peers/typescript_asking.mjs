// The official TypeScript SDK, with tools that ask the client back, as its documentation shows it.
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { z } from "zod";

const server = new McpServer({ name: "bench", version: "1.0.0" });
const inputSchema = { message: z.string() };
const requestedSchema = { type: "object", properties: { answer: { type: "string" } }, required: ["answer"] };

server.registerTool("elicit", { inputSchema }, async ({ message }) => {
  const found = await server.server.elicitInput({ message, requestedSchema });
  return { content: [{ type: "text", text: found.content.answer }] };
});
server.registerTool("sample", { inputSchema }, async ({ message }) => {
  const messages = [{ role: "user", content: { type: "text", text: message } }];
  const found = await server.server.createMessage({ messages, maxTokens: 1024 });
  return { content: [{ type: "text", text: found.content.text }] };
});
await server.connect(new StdioServerTransport());
