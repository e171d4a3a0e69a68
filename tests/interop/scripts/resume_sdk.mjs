// Makes one call through the npm SDK's client, whatever happens to its connection: `resume_sdk.mjs URL`.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const client = new Client({ name: "mcp-npm", version: "1.32.2" });
const reconnectionOptions = {
  initialReconnectionDelay: 10, maxReconnectionDelay: 100, reconnectionDelayGrowFactor: 1.5, maxRetries: 5,
};
const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]), { reconnectionOptions });
await client.connect(transport);
const progress = [];
const onprogress = ({ progress: done, total, message }) => progress.push([done, total, message]);
const result = await client.callTool({ name: "interrupted" }, undefined, { onprogress, timeout: 20000 });
process.stdout.write(JSON.stringify({ progress, text: result.content[0].text }));
await transport.terminateSession();
await client.close();
