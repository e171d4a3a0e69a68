// Serves servers made with the npm SDK over Streamable HTTP at /mcp and over HTTP+SSE at /sse, one for each session.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { SSEServerTransport } from "@modelcontextprotocol/sdk/server/sse.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";

class MemoryEventStore {
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
      // What only primed the stream is no message.
      if (other === stream && message.jsonrpc) await send(String(at + 1), message);
    }
    return stream;
  }
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return chunks.length ? JSON.parse(Buffer.concat(chunks).toString()) : undefined;
}

export function serve(make) {
  const sessions = new Map();
  const streams = new Map();

  async function streamable(request, response) {
    const id = request.headers["mcp-session-id"];
    const body = request.method === "POST" ? await read(request) : undefined;
    let transport = sessions.get(id);
    if (transport === undefined) {
      if (id !== undefined || body?.method !== "initialize") {
        const error = { code: -32000, message: id === undefined ? "Bad Request: no session" : "Session not found" };
        response.writeHead(id === undefined ? 400 : 404, { "content-type": "application/json" });
        response.end(JSON.stringify({ jsonrpc: "2.0", error, id: null }));
        return;
      }
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: (made) => sessions.set(made, transport),
        eventStore: new MemoryEventStore(),
        retryInterval: 10,
      });
      transport.onclose = () => sessions.delete(transport.sessionId);
      await make().connect(transport);
    }
    await transport.handleRequest(request, response, body);
  }

  async function deprecated(request, response, url) {
    if (request.method === "POST") {
      const transport = streams.get(url.searchParams.get("sessionId"));
      if (transport === undefined) response.writeHead(404).end();
      else await transport.handlePostMessage(request, response);
      return;
    }
    const transport = new SSEServerTransport("/messages", response);
    streams.set(transport.sessionId, transport);
    response.on("close", () => streams.delete(transport.sessionId));
    await make().connect(transport);
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    if (url.pathname === "/mcp") streamable(request, response);
    else if (url.pathname === "/messages" || (url.pathname === "/sse" && request.method === "GET")) {
      deprecated(request, response, url);
    } else response.writeHead(404).end("no such path");
  });
  server.listen(0, "127.0.0.1", () => console.error(`listening ${server.address().port}`));
}
