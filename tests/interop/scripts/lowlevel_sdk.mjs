// A server made with the low-level `Server` of the npm SDK: pages, subscriptions, log levels, changed roots.

import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import {
  CallToolRequestSchema, ListPromptsRequestSchema, ListResourcesRequestSchema, ListToolsRequestSchema,
  RootsListChangedNotificationSchema, SetLevelRequestSchema, SubscribeRequestSchema, UnsubscribeRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { serve } from "./web_serving.mjs";

const PAGES = {
  "": [["touch", "grow"], "2"],
  2: [["levels", "watched"], "last"],
  last: [["roots_changed", "speak"], undefined],
};

function make() {
  const levels = [];
  const watched = new Set();
  let changed;
  const rootsChanged = new Promise((resolve) => (changed = resolve));
  const changing = { listChanged: true };
  const capabilities = { logging: {}, tools: changing, prompts: changing, resources: { ...changing, subscribe: true } };
  const server = new Server({ name: "low-level", version: "9.8.7" }, { capabilities });

  server.setRequestHandler(ListToolsRequestSchema, ({ params }) => {
    const [names, nextCursor] = PAGES[params?.cursor ?? ""];
    return { tools: names.map((name) => ({ name, inputSchema: { type: "object" } })), nextCursor };
  });
  server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
    let text = "done";
    if (params.name === "touch") await server.sendResourceUpdated({ uri: "watched://a" });
    else if (params.name === "grow") {
      await server.sendToolListChanged();
      await server.sendPromptListChanged();
      await server.sendResourceListChanged();
    } else if (params.name === "levels") text = levels.splice(0).join(" ");
    else if (params.name === "watched") text = [...watched].sort().join(" ");
    else if (params.name === "roots_changed") await rootsChanged;
    else if (params.name === "speak") {
      for (const level of ["debug", "warning"]) {
        const said = { level, data: `at ${level}`, logger: "lowlevel" };
        await extra.sendNotification({ method: "notifications/message", params: said });
      }
    } else throw new Error(params.name);
    return { content: [{ type: "text", text }] };
  });
  server.setRequestHandler(ListResourcesRequestSchema, () => ({ resources: [{ uri: "watched://a", name: "a" }] }));
  server.setRequestHandler(ListPromptsRequestSchema, () => ({ prompts: [] }));
  server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
    watched.add(params.uri);
    return {};
  });
  server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => {
    watched.delete(params.uri);
    return {};
  });
  server.setRequestHandler(SetLevelRequestSchema, ({ params }) => {
    levels.push(params.level);
    return {};
  });
  server.setNotificationHandler(RootsListChangedNotificationSchema, () => changed());
  return server;
}

serve(make);
