-- Takes all that an order asks for out of the stock, or nothing of it.
--
-- KEYS: the stock, a hash of slug to number; the mark of this order, for when the client asks a second time because
-- the first answer was lost.
-- ARGV: the channel that is told what is sold out; seconds to keep the mark; then for each product its slug, how many
-- are wanted, and how many there are as long as nobody has bought any.
-- Answers a list of what there is not enough of: a slug, how many there are, a slug …
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {}
end
local missing = {}
for i = 3, #ARGV, 3 do
  redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 2])
  local left = redis.call('HGET', KEYS[1], ARGV[i])
  if tonumber(left) < tonumber(ARGV[i + 1]) then
    missing[#missing + 1] = ARGV[i]
    missing[#missing + 1] = left
  end
end
if #missing > 0 then
  return missing
end
for i = 3, #ARGV, 3 do
  if redis.call('HINCRBY', KEYS[1], ARGV[i], '-' .. ARGV[i + 1]) == 0 then
    redis.call('PUBLISH', ARGV[1], ARGV[i])
  end
end
redis.call('SET', KEYS[2], 'taken', 'EX', ARGV[2])
return {}
