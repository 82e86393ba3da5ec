"""Lua scripts of the Redis journal: each changes state, stream and idempotency key in one atomic step.

KEYS[1] is the prefix of all keys:
    PREFIX:jobs      the stream; its entries name jobs, and an entry exists as long as its job can run
    PREFIX:job:ID    a job: owner, state, attempts, request, result
    PREFIX:key:HASH  an idempotency key: the id and the digest of its request
    PREFIX:due       sorted set of jobs that wait for their next attempt, by Unix time
    PREFIX:ended     sorted set of SIZE:ID of final jobs, by the Unix time at which they are deleted
    PREFIX:push      sorted set of jobs whose result is to be pushed, by Unix time
    PREFIX:bytes     size of all requests and results
    PREFIX:alive     sorted set of consumers, by the Unix time at which they were last seen
    PREFIX:dead      the dead-letter stream: ids of failed jobs and the causes
"""

GROUP = "dispatchers"

# Helpers of the scripts below. `end_job` stores the final state, after which nothing of the request is left.
_COMMON = f"""
local p, group = KEYS[1], '{GROUP}'
local function leave(id, entry)
  redis.call('XACK', p .. ':jobs', group, entry)
  redis.call('XDEL', p .. ':jobs', entry)
  redis.call('ZREM', p .. ':due', id)
end
local function enter(id)
  redis.call('HSET', p .. ':job:' .. id, 'entry', redis.call('XADD', p .. ':jobs', '*', 'id', id))
end
local function unfinished(state)
  return state == 'accepted' or state == 'running'
end
local function expire(id, size, now, ttl)
  redis.call('ZADD', p .. ':ended', now + ttl, size .. ':' .. id)
  redis.call('EXPIRE', p .. ':job:' .. id, math.ceil(ttl))
  local key = redis.call('HGET', p .. ':job:' .. id, 'key')
  if key ~= '' then redis.call('EXPIRE', p .. ':key:' .. key, math.ceil(ttl)) end
end
local function resize(id, size)
  local before = redis.call('HGET', p .. ':job:' .. id, 'size')
  redis.call('HSET', p .. ':job:' .. id, 'size', size)
  redis.call('INCRBY', p .. ':bytes', size - before)
end
"""

# ARGV: id, owner, key, digest, head, body, now_s, most_bytes. A repeated call with the same id changes nothing.
APPEND = (
    _COMMON
    + """
local id, key, digest, size = ARGV[1], ARGV[3], ARGV[4], #ARGV[5] + #ARGV[6]
if redis.call('EXISTS', p .. ':job:' .. id) == 1 then return {'new', id} end
if key ~= '' then
  local known = redis.call('HMGET', p .. ':key:' .. key, 'id', 'digest')
  if known[1] then
    return {known[2] == digest and 'known' or 'conflict', known[1]}
  end
end
local held = tonumber(redis.call('GET', p .. ':bytes') or '0')
if held + size > tonumber(ARGV[8]) then return {'full', tostring(held)} end
redis.call('HSET', p .. ':job:' .. id, 'owner', ARGV[2], 'key', key, 'state', 'accepted', 'attempts', 0, 'size', size,
  'head', ARGV[5], 'body', ARGV[6])
if key ~= '' then redis.call('HSET', p .. ':key:' .. key, 'id', id, 'digest', digest) end
enter(id)
redis.call('INCRBY', p .. ':bytes', size)
return {'new', id}
"""
)

# ARGV: consumer, limit, now_s, lease_ms, cursor. Return the next cursor, then entry, id, attempts, head and body of
# each job. Idle claims of others are taken over first; an empty cursor skips that.
CLAIM = (
    _COMMON
    + """
local consumer, limit, cursor = ARGV[1], tonumber(ARGV[2]), ARGV[5]
for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. ':due', '-inf', ARGV[3], 'LIMIT', 0, 1000)) do
  redis.call('ZREM', p .. ':due', id)
  enter(id)
end
local found = {cursor}
local function take(entries)
  for _, entry in ipairs(entries) do
    if entry and entry[2] then
      local id = entry[2][2]
      local job = redis.call('HMGET', p .. ':job:' .. id, 'state', 'attempts', 'head', 'body')
      if job[1] and unfinished(job[1]) then
        redis.call('HSET', p .. ':job:' .. id, 'state', 'running')
        found[#found + 1] = {entry[1], id, job[2], job[3], job[4]}
      else
        leave(id, entry[1])
      end
    end
  end
end
if cursor ~= '' then
  local idle = redis.call('XAUTOCLAIM', p .. ':jobs', group, consumer, ARGV[4], cursor, 'COUNT', limit)
  found[1] = idle[1]
  take(idle[2])
end
if #found - 1 < limit then
  local left = limit - #found + 1
  local fresh = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', left, 'STREAMS', p .. ':jobs', '>')
  if fresh then take(fresh[1][2]) end
end
return found
"""
)

# ARGV: consumer, now_s, entries... Claims that another dispatcher has taken over stay with it.
RENEW = (
    _COMMON
    + """
redis.call('ZADD', p .. ':alive', ARGV[2], ARGV[1])
for i = 3, #ARGV do
  if #redis.call('XPENDING', p .. ':jobs', group, ARGV[i], ARGV[i], 1, ARGV[1]) > 0 then
    redis.call('XCLAIM', p .. ':jobs', group, ARGV[1], 0, ARGV[i], 'JUSTID')
  end
end
return 1
"""
)

# ARGV: consumer, id, attempts, due_s, now_s.
PUT_BACK = (
    _COMMON
    + """
local id, job = ARGV[2], p .. ':job:' .. ARGV[2]
local state, entry = unpack(redis.call('HMGET', job, 'state', 'entry'))
if state ~= 'running' then return 0 end
if #redis.call('XPENDING', p .. ':jobs', group, entry, entry, 1, ARGV[1]) == 0 then return 0 end
redis.call('HSET', job, 'state', 'accepted', 'attempts', ARGV[3])
leave(id, entry)
if tonumber(ARGV[4]) > tonumber(ARGV[5]) then redis.call('ZADD', p .. ':due', ARGV[4], id) else enter(id) end
return 1
"""
)

# ARGV: id, state, status, head, body, cause, now_s, ttl_s, pushes.
FINISH = (
    _COMMON
    + """
local id, job, now = ARGV[1], p .. ':job:' .. ARGV[1], tonumber(ARGV[7])
local state, entry = unpack(redis.call('HMGET', job, 'state', 'entry'))
if not unfinished(state) then return 0 end
redis.call('HSET', job, 'state', ARGV[2], 'status', ARGV[3], 'result_head', ARGV[4], 'result_body', ARGV[5],
  'cause', ARGV[6], 'finished_s', ARGV[7], 'pushes', 0)
redis.call('HDEL', job, 'head', 'body')
leave(id, entry)
local size = #ARGV[4] + #ARGV[5] + #ARGV[6]
resize(id, size)
if ARGV[2] == 'failed' then redis.call('XADD', p .. ':dead', '*', 'id', id, 'cause', ARGV[6]) end
if ARGV[9] == '1' then redis.call('ZADD', p .. ':push', now, id) else expire(id, size, now, tonumber(ARGV[8])) end
return 1
"""
)

# ARGV: id, owner, now_s, ttl_s. Return the final state, or nothing if the owner has no such job.
CANCEL = (
    _COMMON
    + """
local id, job = ARGV[1], p .. ':job:' .. ARGV[1]
local state, entry, owner, finished = unpack(redis.call('HMGET', job, 'state', 'entry', 'owner', 'finished_s'))
if not state or owner ~= ARGV[2] then return false end
if finished and tonumber(finished) <= tonumber(ARGV[3]) - tonumber(ARGV[4]) then return false end
if not unfinished(state) then return state end
redis.call('HSET', job, 'state', 'cancelled', 'finished_s', ARGV[3])
redis.call('HDEL', job, 'head', 'body')
leave(id, entry)
resize(id, 0)
expire(id, 0, tonumber(ARGV[3]), tonumber(ARGV[4]))
return 'cancelled'
"""
)

# ARGV: consumer. Give back every claim of a consumer and remove it.
RESIGN = (
    _COMMON
    + """
for _, pending in ipairs(redis.call('XPENDING', p .. ':jobs', group, '-', '+', 1000000, ARGV[1])) do
  local found = redis.call('XRANGE', p .. ':jobs', pending[1], pending[1])
  if #found > 0 then
    local id = found[1][2][2]
    leave(id, pending[1])
    if redis.call('HGET', p .. ':job:' .. id, 'state') == 'running' then
      redis.call('HSET', p .. ':job:' .. id, 'state', 'accepted')
      enter(id)
    end
  end
end
redis.call('ZREM', p .. ':alive', ARGV[1])
return redis.call('XGROUP', 'DELCONSUMER', p .. ':jobs', group, ARGV[1])
"""
)

# ARGV: now_s, limit, oldest_dead_ms, oldest_alive_s. Return how many final jobs were deleted.
PURGE = (
    _COMMON
    + """
local ended = redis.call('ZRANGEBYSCORE', p .. ':ended', '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, member in ipairs(ended) do
  local size, id = string.match(member, '^(%d+):(.*)$')
  local key = redis.call('HGET', p .. ':job:' .. id, 'key')
  if key and key ~= '' then redis.call('DEL', p .. ':key:' .. key) end
  redis.call('DEL', p .. ':job:' .. id)
  redis.call('DECRBY', p .. ':bytes', size)
  redis.call('ZREM', p .. ':ended', member)
end
redis.call('XTRIM', p .. ':dead', 'MINID', ARGV[3])
for _, consumer in ipairs(redis.call('ZRANGEBYSCORE', p .. ':alive', '-inf', ARGV[4])) do
  -- one that still has claims is kept until they are taken over
  if #redis.call('XPENDING', p .. ':jobs', group, '-', '+', 1, consumer) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', p .. ':jobs', group, consumer)
    redis.call('ZREM', p .. ':alive', consumer)
  end
end
return #ended
"""
)

# ARGV: limit, now_s, lease_s. Return id, state, status, head, body, cause, pushes, finished_s of each result.
CLAIM_PUSHES = (
    _COMMON
    + """
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. ':push', '-inf', ARGV[2], 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', p .. ':push', ARGV[2] + ARGV[3], id)
  local job = p .. ':job:' .. id
  local pushes = redis.call('HINCRBY', job, 'pushes', 1)
  job = redis.call('HMGET', job, 'state', 'status', 'result_head', 'result_body', 'cause', 'finished_s')
  found[#found + 1] = {id, job[1], job[2], job[3], job[4], job[5], pushes, job[6]}
end
return found
"""
)

# ARGV: id, now_s, ttl_s.
PUSH_DONE = (
    _COMMON
    + """
if redis.call('ZREM', p .. ':push', ARGV[1]) == 0 then return 0 end
redis.call('HSET', p .. ':job:' .. ARGV[1], 'finished_s', ARGV[2])
expire(ARGV[1], redis.call('HGET', p .. ':job:' .. ARGV[1], 'size'), tonumber(ARGV[2]), tonumber(ARGV[3]))
return 1
"""
)
