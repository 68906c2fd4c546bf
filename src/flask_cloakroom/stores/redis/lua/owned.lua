-- Delete the expired claims of an owner, and return the live claims.
-- KEYS[1] the owner's set
-- Returns one text, whose parts are separated by spaces: the word "claims", the server's time, and then the key and
-- expiry of each claim, the earliest expiry first. Times are in microseconds since the epoch. By the word "claims" the
-- store recognizes the answer of this script, if a broken connection mixes up the answers.
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
if #found == 0 then
  return 'claims ' .. now
end
return 'claims ' .. now .. ' ' .. table.concat(found, ' ')
