-- Note that a key may be an owner's: one sorted set per owner, scored by expiry in microseconds.
-- KEYS[1] the owner's set   ARGV[1] the key   ARGV[2] seconds to live   ARGV[3] how many others there may be, or -1
-- Returns 1 noted, 0 refused. Never shortens what is noted.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local noted = redis.call('ZSCORE', KEYS[1], ARGV[1])
local others = redis.call('ZCARD', KEYS[1])
if noted then
  others = others - 1
end
local limit = tonumber(ARGV[3])
if limit >= 0 and others >= limit then
  return 0
end
local expires = now + tonumber(ARGV[2]) * 1000000
if not noted or tonumber(noted) < expires then
  redis.call('ZADD', KEYS[1], string.format('%.0f', expires), ARGV[1])
end
-- The set ends with the last of what is in it.
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('EXPIREAT', KEYS[1], string.format('%.0f', math.floor(tonumber(last[2]) / 1000000) + 1))
return 1
