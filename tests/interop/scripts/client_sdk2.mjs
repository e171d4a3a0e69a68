// Uses a server of ours through the npm package `@modelcontextprotocol/client`, the second line of that SDK.
//
// `client_sdk2.mjs MODE WHERE`; WHERE is JSON: {"http": URL}; MODE is `auto`, `legacy` or the revision to begin with.

import { Client, ProtocolError, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { answers, hear, heard, logs, print, report, until, use } from "./use_sdk.mjs";

const mode = process.argv[2];
const where = JSON.parse(process.argv[3]);
const client = new Client(
  { name: "mcp-npm-2", version: "2.4.0" },
  {
    capabilities: { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } },
    versionNegotiation: { mode: mode === "auto" || mode === "legacy" ? mode : { pin: mode } },
  },
);
client.setRequestHandler("sampling/createMessage", answers.sample);
client.setRequestHandler("elicitation/create", answers.elicit);
client.setRequestHandler("roots/list", answers.roots);
client.setNotificationHandler("notifications/message", (item) => {
  hear(logs, item.params);
  hear(heard, item);
});
const CHANGES = ["prompts/list_changed", "resources/list_changed", "resources/updated", "tools/list_changed"];
for (const name of CHANGES) client.setNotificationHandler(`notifications/${name}`, (item) => hear(heard, item));

const transport = new StreamableHTTPClientTransport(new URL(where.http));
await client.connect(transport);
const isModern = client.getProtocolEra() === "modern";
report.revision = client.getNegotiatedProtocolVersion();
report.server_info = client.getServerVersion();
report.capabilities = client.getServerCapabilities();
report.instructions = client.getInstructions();

const call = (name, args, options) => {
  const level = isModern && name === "speak" ? { _meta: { "io.modelcontextprotocol/logLevel": "warning" } } : {};
  return client.callTool({ name, ...(args && { arguments: args }), ...level }, options);
};

async function listened() {
  const subscription = await client.listen({
    toolsListChanged: true,
    promptsListChanged: true,
    resourcesListChanged: true,
    resourceSubscriptions: ["watched://counter"],
  });
  await call("touch");
  await call("grow");
  await until(() => CHANGES.every((name) => heard.some((item) => item.method === `notifications/${name}`)));
  await subscription.close();
  return { honored: subscription.honoredFilter };
}

const isError = (error) => error instanceof ProtocolError;
await use({ client, call, isError, isModern, changes: isModern ? listened : undefined });

if (!isModern) await transport.terminateSession();
await client.close();
print();
