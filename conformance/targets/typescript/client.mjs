// What the judge asks of a client, written with `@modelcontextprotocol/sdk`: it connects to the address that is appended,
// calls every tool, reads every resource, gets every prompt, and fails if any of that does.
//
//     node client.mjs http://127.0.0.1:3001/mcp
//     node client.mjs COMMAND [ARGUMENT...]      # the command of a server on its standard streams

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [first, ...rest] = process.argv.slice(2);
const scenario = process.env.MCP_CONFORMANCE_SCENARIO ?? "";

const PLAIN = { string: "text", integer: 5, number: 5.5, boolean: true, array: [], object: {} };
const value = (schema) =>
  schema.default ?? schema.const ?? schema.enum?.[0] ?? schema.oneOf?.[0]?.const ?? PLAIN[schema.type] ?? "text";
const filled = (schema) =>
  Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, property]) => [name, value(property)]));

const client = new Client(
  { name: "judged", version: "1.0.0" },
  { capabilities: { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } } },
);
client.setRequestHandler(CreateMessageRequestSchema, () => ({
  role: "assistant", content: { type: "text", text: "an answer" }, model: "none", stopReason: "endTurn",
}));
client.setRequestHandler(ElicitRequestSchema, ({ params }) => ({
  action: "accept", content: filled(params.requestedSchema),
}));
client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///home/user/project" }] }));

async function pages(list, member) {
  const found = [];
  let cursor;
  do {
    const page = await list(cursor === undefined ? {} : { cursor });
    found.push(...page[member]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return found;
}

async function everything() {
  const offered = client.getServerCapabilities() ?? {};
  if (offered.tools) {
    const tools = await pages((params) => client.listTools(params), "tools");
    if (scenario === "json-schema-2020-12-preservation") {
      const { inputSchema: schema } = tools.find((tool) => tool.name === "json_schema_2020_12_tool");
      await client.callTool({ name: "json_schema_echo", arguments: { schema } });
      return;
    }
    for (const tool of tools) await client.callTool({ name: tool.name, arguments: filled(tool.inputSchema) });
  }
  if (offered.resources) {
    for (const { uri } of await pages((params) => client.listResources(params), "resources")) {
      await client.readResource({ uri });
    }
  }
  if (offered.prompts) {
    for (const prompt of await pages((params) => client.listPrompts(params), "prompts")) {
      const names = (prompt.arguments ?? []).map((argument) => [argument.name, "text"]);
      await client.getPrompt({ name: prompt.name, arguments: Object.fromEntries(names) });
    }
  }
}

const transport = first.startsWith("http")
  ? new StreamableHTTPClientTransport(new URL(first))
  : new StdioClientTransport({ command: first, args: rest });
await client.connect(transport);
await everything();
await transport.terminateSession?.();
await client.close();
