// The page of `mlxworld ask --page`: pictures wait beside the question, the answer is read as it comes.

const byId = (id) => document.getElementById(id)
const [form, question, talk, waiting] = ['form', 'question', 'talk', 'pictures'].map(byId)
const PICTURE_BYTES = 40e6

let name = crypto.randomUUID() // of this talk
let answer = null // the request that is under way

const about = await (await fetch('about')).json()
byId('model').textContent = about.model

function turn(kind, text = '', pictures = []) {
  byId('hint')?.remove()
  const p = document.createElement('p')
  p.className = `turn ${kind}`
  p.append(...pictures.map(shown), text)
  talk.append(p)
  p.scrollIntoView({ block: 'end' })
  return p
}

function shown(url) {
  const img = document.createElement('img')
  img.src = url
  img.alt = 'A picture that the question is about'
  return img
}

function add(files) {
  for (const file of files) {
    if (!file.type.startsWith('image/')) continue
    if (file.size > PICTURE_BYTES) {
      turn('said failed', `${file.name} is larger than ${PICTURE_BYTES / 1e6} MB`)
      continue
    }
    const reader = new FileReader()
    reader.onload = () => {
      const button = document.createElement('button')
      button.type = 'button'
      button.title = 'Take it away'
      button.append(shown(reader.result))
      button.onclick = () => button.remove()
      waiting.append(button)
    }
    reader.readAsDataURL(file)
  }
}

async function ask() {
  const text = question.value.trim()
  if (!text || answer) return
  const pictures = [...waiting.querySelectorAll('img')].map((img) => img.src)
  turn('asked', text, pictures)
  question.value = ''
  waiting.replaceChildren()
  const said = turn('said busy')
  answer = new AbortController()
  busy(true)
  try {
    const body = JSON.stringify({ talk: name, question: text, pictures: pictures.map((url) => url.split(',')[1]) })
    const reply = await fetch('ask', { method: 'POST', body, signal: answer.signal })
    said.classList.toggle('failed', !reply.ok)
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      const low = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 60 // who reads further up is left there
      said.append(value)
      if (low) said.scrollIntoView({ block: 'end' })
    }
    if (!reply.ok) question.value ||= text
  } catch (error) {
    if (error.name !== 'AbortError') {
      said.classList.add('failed')
      said.append('The connection was lost.')
    }
  }
  said.classList.remove('busy')
  answer = null
  busy(false)
}

function busy(is) {
  byId('send').hidden = is
  byId('stop').hidden = !is
  question.focus()
}

form.onsubmit = (event) => { event.preventDefault(); ask() }
question.onkeydown = (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask() }
}
byId('stop').onclick = () => answer?.abort()
byId('anew').onclick = () => {
  answer?.abort()
  name = crypto.randomUUID()
  talk.replaceChildren()
  waiting.replaceChildren()
  question.focus()
}
byId('choose').onchange = (event) => { add(event.target.files); event.target.value = '' }
document.onpaste = (event) => add(event.clipboardData.files)
document.ondragover = (event) => { event.preventDefault(); document.body.classList.add('over') }
document.ondragleave = (event) => { if (!event.relatedTarget) document.body.classList.remove('over') }
document.ondrop = (event) => { event.preventDefault(); document.body.classList.remove('over'); add(event.dataTransfer.files) }
