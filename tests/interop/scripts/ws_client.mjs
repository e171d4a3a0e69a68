// Uses a server of ours with Node's `ws`, or, as `native`, with the WebSocket that browsers have: `script url [native]`.
import { WebSocket as WS } from "ws";

const [url, kind, ...subprotocols] = process.argv.slice(2);
const offered = subprotocols.length ? subprotocols : ["mcp"];
const socket =
  kind === "native" ? new WebSocket(url, offered) : new WS(url, offered, { perMessageDeflate: kind === "deflate" });
const report = { errors: [] };
const waiting = new Map();

function ask(id, method, params) {
  socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
  return new Promise((resolve) => waiting.set(id, resolve));
}

socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  waiting.get(message.id)?.(message.result ?? message.error);
};
socket.onerror = ({ message }) => report.errors.push(String(message));
socket.onopen = async () => {
  report.subprotocol = socket.protocol;
  report.extensions = socket.extensions;
  const hello = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "ws", version: "8" } };
  report.initialized = await ask(0, "initialize", hello);
  socket.send(JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" }));
  report.tools = (await ask(1, "tools/list", {})).tools.length;
  const texts = ["hello", "€".repeat(70000), "x".repeat(1000000)];
  const calls = texts.map((message, at) => ask(10 + at, "tools/call", { name: "echo", arguments: { message } }));
  report.echoed = (await Promise.all(calls)).map((result, at) => result.content[0].text === texts[at]);
  if (kind !== "native") {
    report.pong = await new Promise((resolve) => {
      socket.on("pong", (data) => resolve(data.toString()));
      socket.ping("are you there");
    });
    // In fragments.
    const text = JSON.stringify({ jsonrpc: "2.0", id: 20, method: "tools/call", params: { name: "echo", arguments: { message: "in pieces" } } });
    const answer = new Promise((resolve) => waiting.set(20, resolve));
    socket.send(text.slice(0, 10), { fin: false });
    socket.send(text.slice(10, 50), { fin: false });
    socket.send(text.slice(50), { fin: true });
    report.pieces = (await answer).content[0].text;
  }
  socket.close(1000, "done");
};
socket.onclose = ({ code, reason, wasClean }) => {
  report.closed = [code, reason, wasClean];
  console.log(JSON.stringify(report));
  process.exit(0);
};
