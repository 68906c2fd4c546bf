-- Store a claim in the sorted set of its owner. The member is the claimed key, and the score is the expiry of the claim
-- in microseconds since the epoch. Never shorten a claim.
-- KEYS[1] the owner's set   ARGV[1] the claimed key   ARGV[2] seconds to live   ARGV[3] limit of other claims, or -1
-- Returns 1 if the claim is stored. Returns 0, and stores nothing, if the owner has as many other claims as the limit.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local present = redis.call('ZSCORE', KEYS[1], ARGV[1])
local others = redis.call('ZCARD', KEYS[1])
if present then
  others = others - 1
end
local limit = tonumber(ARGV[3])
if limit >= 0 and others >= limit then
  return 0
end
local expires = now + tonumber(ARGV[2]) * 1000000
if not present or tonumber(present) < expires then
  redis.call('ZADD', KEYS[1], string.format('%.0f', expires), ARGV[1])
end
-- The set expires together with the claim that expires last.
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('EXPIREAT', KEYS[1], string.format('%.0f', math.floor(tonumber(last[2]) / 1000000) + 1))
return 1
