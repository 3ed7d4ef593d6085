-- Put before every script. KEYS[1] is '<prefix>{<tenant>}:'; every key below has that hash tag.
--   c:<conversation>  hash: v st ep epo asg team since held last parked n, and while a slot is
--                     reserved ra (agent), rd (the record's value), rx (expiry)
--   q:<team>          waits, oldest first, neither held nor reserved; '-' is no team
--   todo:<team>       those of q:<team> whose park record may be missing
--   reason            team -> the reason that its queue is parked with
--   held, heldtodo    parked by hand or snoozed; those without a park record
--   a:<agent>         the conversations that fill the agent's slots: open and reserved
--   res, unsent       reservations by expiry; those whose record is not known to be on the topic
--   live              what is not closed -> the generation that last saw it
--   presence, avail, turn   agent -> state
--   timer, parking   whose turn it is
--   gen, building, built    rebuild: generation, running token, done token
local base = KEYS[1]

local function load(id)
  local f = redis.call('HMGET', base .. 'c:' .. id,
    'v', 'st', 'ep', 'epo', 'asg', 'team', 'since', 'held', 'last', 'parked', 'n', 'ra', 'rd')
  if not f[1] then return nil end
  return {v = tonumber(f[1]), st = f[2], ep = f[3], epo = f[4], asg = f[5], team = f[6],
          since = f[7], held = f[8], last = f[9] or '', parked = f[10] or '', n = f[11] or '0',
          ra = f[12], rd = f[13]}
end

local function enqueue(id, team, since, parked)
  redis.call('ZADD', base .. 'q:' .. team, since, id)
  redis.call('SADD', base .. 'queues', team)
  if parked == '' or parked ~= redis.call('HGET', base .. 'reason', team) then
    redis.call('ZADD', base .. 'todo:' .. team, since, id)
  end
end

local function dequeue(id, team)
  redis.call('ZREM', base .. 'todo:' .. team, id)
  if redis.call('ZREM', base .. 'q:' .. team, id) == 1
      and redis.call('EXISTS', base .. 'q:' .. team) == 0 then
    redis.call('SREM', base .. 'queues', team)
    redis.call('HDEL', base .. 'reason', team)
  end
end

local function release(id, agent)
  redis.call('SREM', base .. 'a:' .. agent, id)
  redis.call('ZREM', base .. 'res', id)
  redis.call('ZREM', base .. 'unsent', id)
  redis.call('HDEL', base .. 'c:' .. id, 'ra', 'rd', 'rx')
end

-- Takes the conversation out of every index that its stored state put it into.
local function leave(id, c)
  if c.st == 'on_hold' then
    if c.ra then release(id, c.ra) end
    dequeue(id, c.team)
    redis.call('ZREM', base .. 'held', id)
    redis.call('ZREM', base .. 'heldtodo', id)
  elseif c.st == 'open' then
    redis.call('SREM', base .. 'a:' .. c.asg, id)
  end
end

local function expire_reservations(now)
  local due = redis.call('ZRANGEBYSCORE', base .. 'res', '-inf', now, 'LIMIT', 0, 500)
  for _, id in ipairs(due) do
    local c = load(id)
    if c and c.ra then
      release(id, c.ra)
      enqueue(id, c.team, c.since, c.parked)
    else
      redis.call('ZREM', base .. 'res', id)
    end
  end
  return #due
end
