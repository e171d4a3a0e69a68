// Uses a server of ours through the client of the npm package `@modelcontextprotocol/sdk`.
//
// `client_sdk.mjs own WHERE`; WHERE is JSON: {"http": URL} or {"sse": URL}.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema, LoggingMessageNotificationSchema,
  McpError, PromptListChangedNotificationSchema, ResourceListChangedNotificationSchema,
  ResourceUpdatedNotificationSchema, ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { answers, hear, heard, logs, print, report, use } from "./use_sdk.mjs";

const where = JSON.parse(process.argv[3]);
const client = new Client(
  { name: "mcp-npm", version: "1.32.2" },
  { capabilities: { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } } },
);
client.setRequestHandler(CreateMessageRequestSchema, answers.sample);
client.setRequestHandler(ElicitRequestSchema, answers.elicit);
client.setRequestHandler(ListRootsRequestSchema, answers.roots);
client.setNotificationHandler(LoggingMessageNotificationSchema, (item) => {
  hear(logs, item.params);
  hear(heard, item);
});
for (const schema of [
  PromptListChangedNotificationSchema, ResourceListChangedNotificationSchema, ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
]) {
  client.setNotificationHandler(schema, (item) => hear(heard, item));
}

const transport = where.http
  ? new StreamableHTTPClientTransport(new URL(where.http))
  : new SSEClientTransport(new URL(where.sse));
const remember = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (version) => {
  report.revision = version;
  remember?.(version);
};
await client.connect(transport);
report.server_info = client.getServerVersion();
report.capabilities = client.getServerCapabilities();
report.instructions = client.getInstructions();

const call = (name, args, options) => client.callTool({ name, ...(args && { arguments: args }) }, undefined, options);
await use({ client, call, isError: (error) => error instanceof McpError });

if (where.http) await transport.terminateSession();
await client.close();
print();
