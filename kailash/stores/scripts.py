"""The Lua scripts that run inside Redis, each one round trip and atomic."""

from hashlib import sha1

__all__ = ["CLEAR", "GET", "PUT", "TAKE", "Script"]


class Script:
    """A script and the name that Redis knows it by once it has seen it.

    Args:
        text: its Lua.
    """

    __slots__ = ("name", "text")

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.name = sha1(self.text, usedforsecurity=False).hexdigest().encode()


TAKE = Script("""
-- KEYS: buckets. ARGV: now; then interval, tolerance and cost of each.
-- A bucket is how far ahead of the rate it was, and when: sums of 1970's seconds would drift.
local now = tonumber(ARGV[1])
local levels, longest = {}, -1
for i, key in ipairs(KEYS) do
  local interval, tolerance, cost = tonumber(ARGV[3*i-1]), tonumber(ARGV[3*i]), tonumber(ARGV[3*i+1])
  local level = levels[key]
  if not level then
    level = 0
    local kept = redis.call('GET', key)
    if kept then
      local ahead, at = struct.unpack('<dd', kept)
      level = math.max(0, ahead - (now - at))
    end
  end
  local after = level + cost * interval
  local wait = after - tolerance
  if wait > 1e-9 * tolerance then
    longest = math.max(longest, wait)
  else
    levels[key] = after
  end
end
if longest >= 0 then return string.format('%.17g', longest) end
for key, after in pairs(levels) do
  -- A minute more than it takes to be full again, for machines whose clocks differ.
  redis.call('SET', key, struct.pack('<dd', after, now), 'PX', math.ceil(after * 1000) + 60000)
end
return false
""")
"""Takes from all buckets or from none; returns the wait of a refusal."""

GET = Script("""
-- KEYS: value, generation of everything. ARGV: what the generation of a tag begins with.
local kept = redis.call('GET', KEYS[1])
if not kept then return false end
local all, own, size, at = struct.unpack('<LLL', kept)
if all ~= tonumber(redis.call('GET', KEYS[2]) or 0) then return false end
local tag = string.sub(kept, at, at + size - 1)
if own ~= tonumber(redis.call('GET', ARGV[1] .. tag) or 0) then return false end
return string.sub(kept, at + size)
""")
"""Returns a value whose generations are still those of its tag and of everything."""

PUT = Script("""
-- KEYS: value, generation of everything, generation of its tag. ARGV: value, milliseconds, tag.
local all, own = tonumber(redis.call('GET', KEYS[2]) or 0), tonumber(redis.call('GET', KEYS[3]) or 0)
local kept = struct.pack('<LLL', all, own, #ARGV[3]) .. ARGV[3] .. ARGV[1]
redis.call('SET', KEYS[1], kept, 'PX', ARGV[2])
return true
""")
"""Keeps a value with the generations of the moment."""

CLEAR = Script("""
-- KEYS: a generation. What was kept before belongs to an earlier one, and expires by itself before the number does.
redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], 7200000)
return true
""")
"""Begins a new generation, so that nothing has to be looked for."""
